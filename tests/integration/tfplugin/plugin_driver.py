"""A plugin process as Terraform starts it, gRPC clients for it, and workspaces for the real CLI."""

from __future__ import annotations

import base64
import datetime
import json
import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from integration.tfplugin import sample_provider
from tfplugin import handshake, messages

PROGRAM = Path(sample_provider.__file__)
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


class Client:
    """Calls of protocol 6 over a channel of grpcio, with our own tables on both ends of it."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel

    def raw(self, path: str, message: bytes = b"", **more: Any) -> bytes:
        return bytes(self.channel.unary_unary(path)(message, timeout=30, **more))

    def begin(self, rpc: str, request: dict[str, Any], timeout: float | None = 60) -> Any:
        method = self.channel.unary_unary(
            f"/tfplugin6.Provider/{rpc}",
            request_serializer=lambda each: messages.encode(f"{rpc}.Request", each),
            response_deserializer=lambda data: messages.decode(f"{rpc}.Response", data),
        )
        return method.future(request, timeout=timeout)

    def call(self, rpc: str, request: dict[str, Any] | None = None, timeout: float | None = 60) -> dict[str, Any]:
        return dict(self.begin(rpc, request or {}, timeout).result())


def certificate() -> tuple[bytes, bytes]:
    """A client's certificate and key. P-256, since grpcio cannot show one of P-521, which is what Terraform has."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return made.public_bytes(pem), key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Plugin:
    """The sample provider as a process, started as Terraform starts it."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.certificate, self.key = certificate()
        self.environment = {
            **os.environ,
            handshake.COOKIE[0]: handshake.COOKIE[1],
            "PLUGIN_PROTOCOL_VERSIONS": "5,6",
            "PLUGIN_MIN_PORT": "10000",
            "PLUGIN_MAX_PORT": "25000",
            "PLUGIN_CLIENT_CERT": self.certificate.decode(),
            "SAMPLE_STORE": str(folder / "things.json"),
            "PYTHONUNBUFFERED": "",
            **environment,
        }
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM)], env=self.environment, stdout=pipe, stderr=pipe, start_new_session=True
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline().decode().rstrip("\n")
        self.fields = self.line.split("|")
        self._channels: list[grpc.Channel] = []

    @property
    def target(self) -> str:
        return f"unix:{self.fields[3]}" if self.fields[2] == "unix" else self.fields[3]

    @property
    def folder(self) -> Path:
        return Path(self.fields[3]).parent

    def client(self, *, with_certificate: bool = True) -> Client:
        server = ssl.DER_cert_to_PEM_cert(base64.b64decode(self.fields[5] + "==")).encode()
        own = (self.key, self.certificate) if with_certificate else (None, None)
        credentials = grpc.ssl_channel_credentials(server, *own)
        options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1), *UNLIMITED]
        self._channels.append(grpc.secure_channel(self.target, credentials, options=options))
        return Client(self._channels[-1])

    def hang_up(self) -> None:
        """Close every connection, as a killed Terraform does."""
        for channel in self._channels:
            channel.close()

    def end(self) -> tuple[int, str]:
        """Exit status and stderr, once it has ended by itself."""
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, said.decode()

    def kill(self) -> None:
        self.hang_up()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        if len(self.fields) > 3 and self.fields[2] == "unix":
            shutil.rmtree(self.folder, ignore_errors=True)


class Workspace:
    """A folder with a configuration, and the real CLI in it."""

    def __init__(self, folder: Path, binary: str) -> None:
        self.folder = folder / "workspace"
        self.folder.mkdir()
        self.store = folder / "things.json"
        self._binary = binary
        (folder / "plugins").mkdir()
        launcher = folder / "plugins" / "terraform-provider-sample"
        launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{PROGRAM}" "$@"\n')
        launcher.chmod(0o755)
        (folder / "terraform.rc").write_text(
            f'provider_installation {{\n  dev_overrides {{ "tests/sample" = "{folder / "plugins"}" }}\n  direct {{}}\n}}\n'
        )
        self.environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith("TF_")},
            "TF_CLI_CONFIG_FILE": str(folder / "terraform.rc"),
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
            "SAMPLE_STORE": str(self.store),
        }

    def write(self, *parts: str) -> None:
        head = 'terraform {\n  required_providers {\n    sample = { source = "tests/sample" }\n  }\n}\n'
        (self.folder / "main.tf").write_text(head + "\n".join(parts))

    def command(self, *words: str) -> list[str]:
        return [self._binary, words[0], "-no-color", *words[1:]]

    def run(self, *words: str, status: int = 0, **environment: str) -> str:
        done = subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=100,
        )
        said = done.stdout + done.stderr
        assert done.returncode == status, said[-5000:]
        return said

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """A command of its own process group, as one in a terminal is."""
        return subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def objects(self) -> list[dict[str, Any]]:
        """The objects in the state: `values`, and whether they are tainted."""
        state = json.loads((self.folder / "terraform.tfstate").read_text())
        return [instance for resource in state["resources"] for instance in resource["instances"]]

    def things(self) -> dict[str, Any]:
        """What is really there."""
        return json.loads(self.store.read_text()) if self.store.exists() else {}
