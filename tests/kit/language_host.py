"""A language host for Pulumi's real CLI in tests: pulumirpc.LanguageRuntime for Python and Node.js programs.

    language_host.py python EXECUTOR ENGINE_ADDRESS        language_host.py nodejs - ENGINE_ADDRESS

Pulumi's own hosts come only with its release and are in no package registry; what they start is (the CLI's Go module carries the
Python executor, the npm package the Node.js one), and is started here as they do. Python runs under PULUMI_PYTHON_CMD, else under this
interpreter. Here: starting programs and plugins. Not here: installing anything, writing SDKs or programs (the CLI is told that this
host cannot).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import types
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

# The messages without the SDK around them: a run starts this program two or three times.
for name in ("pulumi", "pulumi.runtime", "pulumi.runtime.proto"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [str(Path(sysconfig.get_path("purelib"), *name.split(".")))]

from pulumi.runtime.proto import language_pb2 as pb  # noqa: E402
from pulumi.runtime.proto import language_pb2_grpc, plugin_pb2  # noqa: E402

SAID_WHY = 32
"""An executor ends with it when it has told the engine what was wrong."""
PARENT_LOOKED_AT_SECONDS = 0.5


class Host(language_pb2_grpc.LanguageRuntimeServicer):
    """One language."""

    def __init__(self, language: str, executor: str, engine: str) -> None:
        self.language, self.executor, self.engine = language, executor, engine
        self.python = os.environ.get("PULUMI_PYTHON_CMD") or sys.executable
        self.children: set[subprocess.Popen[bytes]] = set()

    def Handshake(self, request: Any, context: Any) -> pb.LanguageHandshakeResponse:
        return pb.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version="0.0.1")

    def GetRequiredPlugins(self, request: Any, context: Any) -> pb.GetRequiredPluginsResponse:
        return pb.GetRequiredPluginsResponse()

    def GetRequiredPackages(self, request: Any, context: Any) -> pb.GetRequiredPackagesResponse:
        return pb.GetRequiredPackagesResponse()

    def InstallDependencies(self, request: Any, context: Any) -> Iterator[pb.InstallDependenciesResponse]:
        return iter(())

    def RuntimeOptionsPrompts(self, request: Any, context: Any) -> pb.RuntimeOptionsResponse:
        return pb.RuntimeOptionsResponse()

    def About(self, request: Any, context: Any) -> pb.AboutResponse:
        return pb.AboutResponse(executable=self.python, version=sys.version.split()[0])

    def GetProgramDependencies(self, request: Any, context: Any) -> pb.GetProgramDependenciesResponse:
        return pb.GetProgramDependenciesResponse()

    def Run(self, request: pb.RunRequest, context: Any) -> pb.RunResponse:
        command = self._python(request) if self.language == "python" else self._nodejs(request)
        environment = {
            **os.environ,
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
            "PYTHONUNBUFFERED": "1",
        }
        # What a program prints becomes messages of the run; this process's own stdout is for its port.
        child = self._start(command, cwd=request.info.program_directory, env=environment, stdout=sys.stderr)
        code = child.wait()
        if code == SAID_WHY:
            return pb.RunResponse(bail=True)
        return pb.RunResponse(error="" if code == 0 else f"Program exited with non-zero exit code: {code}")

    def RunPlugin(self, request: pb.RunPluginRequest, context: Any) -> Iterator[pb.RunPluginResponse]:
        """A plugin that is a folder with a program in it (PulumiPlugin.yaml)."""
        program = os.path.join(request.info.program_directory, request.info.entry_point)
        if self.language == "python":
            command = [self.python, "-u", program, *request.args]
        else:
            command = ["node", program, *request.args]
        environment = dict(entry.split("=", 1) for entry in request.env) or dict(os.environ)
        child = self._start(command, cwd=request.pwd, env=environment, stdout=subprocess.PIPE)
        context.add_callback(child.kill)
        assert child.stdout is not None
        for line in child.stdout:
            yield pb.RunPluginResponse(stdout=line)
        yield pb.RunPluginResponse(exitcode=child.wait())

    def Cancel(self, request: Any, context: Any) -> Any:
        from google.protobuf import empty_pb2

        return empty_pb2.Empty()

    def _start(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
        self.children.add(child)
        return child

    def _python(self, request: pb.RunRequest) -> list[str]:
        return [
            *(self.python, "-u", self.executor, "--monitor", request.monitor_address, "--engine", self.engine),
            *("--project", request.project, "--stack", request.stack, "--organization", request.organization),
            *(
                "--root_directory",
                request.info.root_directory,
                "--pwd",
                request.pwd,
                "--parallel",
                str(request.parallel),
            ),
            *(("--dry_run", "true") if request.dryRun else ()),
            self._program(request),
        ]

    def _nodejs(self, request: pb.RunRequest) -> list[str]:
        program = Path(self._program(request))
        folders = [program, *program.parents]
        found = [folder / "node_modules/@pulumi/pulumi/cmd/run/index.js" for folder in folders]
        return [
            *("node", str(next((each for each in found if each.is_file()), found[0]))),
            f"--monitor={request.monitor_address}",
            f"--engine={self.engine}",
            f"--organization={request.organization}",
            f"--project={request.project}",
            f"--root-directory={request.info.root_directory}",
            f"--stack={request.stack}",
            f"--pwd={request.pwd}",
            f"--parallel={request.parallel}",
            *(["--dry-run"] if request.dryRun else []),
            request.info.entry_point or ".",
        ]

    @staticmethod
    def _program(request: pb.RunRequest) -> str:
        entry = request.info.entry_point
        return os.path.normpath(os.path.join(request.info.program_directory, "" if entry == "." else entry))


def end_with_the_engine(host: Host, parent: int) -> None:
    """Ends this process, and what it started, when the engine is gone: a killed one says nothing."""
    while os.getppid() == parent:
        threading.Event().wait(PARENT_LOOKED_AT_SECONDS)
    for child in host.children:
        child.kill()
    os._exit(1)


def main() -> None:
    language, executor = sys.argv[1:3]
    engine = next((argument for argument in reversed(sys.argv[3:]) if not argument.startswith("-")), "")
    host = Host(language, executor, engine)
    threading.Thread(target=end_with_the_engine, args=(host, os.getppid()), daemon=True).start()
    server = grpc.server(futures.ThreadPoolExecutor(16))
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    # The engine asks a host to end by an interrupt, and waits five seconds for it.
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(0))
    server.wait_for_termination()


if __name__ == "__main__":
    main()
