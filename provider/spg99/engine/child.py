"""Runs inside a child process: a Pulumi program, a provider host written in Python, or beside a provider that is a program of
its own. Not here: anything of the engine.

    child.py LIFELINE program SETTINGS        child.py LIFELINE host MODULE ARGS...        child.py LIFELINE watch COMMAND ARGS...

It runs with the program's own interpreter, so it imports nothing of spg99; and each of its three parts imports only what it needs
itself, because a provider host and a watcher are started for every run and the first line of each comes after these imports. LIFELINE is the read end of a pipe whose other
end the engine holds and never writes to: when it closes, the engine is gone and so must the child be.
"""

import os
import signal
import sys

if sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    sys.path.pop(0)  # the engine's modules must not shadow the program's


def _follow_engine(lifeline: int) -> None:
    import threading

    def wait() -> None:
        os.read(lifeline, 1)
        os.killpg(os.getpgrp(), signal.SIGKILL)  # the child leads a session of its own

    threading.Thread(target=wait, daemon=True).start()


def collect_seldom() -> None:
    """Garbage is collected every 100,000 new objects instead of every 700.

    The SDK makes some two thousand objects for each resource with forty outputs, and they live to the end: half of the CPU time
    of a program with 500 of them went into walking over them again and again (3.7 s -> 1.9 s, Python 3.11).
    """
    import gc

    gc.freeze()  # what was imported stays: it need not be walked over
    gc.set_threshold(100_000, 20, 20)


def _host(module: str, arguments: list[str]) -> None:
    import runpy

    collect_seldom()
    sys.path.insert(0, os.getcwd())  # as `python -m` does
    sys.argv = [module, *arguments]
    if os.path.isdir(module):
        runpy.run_path(module, run_name="__main__")
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _watch(command: list[str]) -> int:
    """Runs a program that knows no lifeline."""
    # Interrupts go to the whole group: the program ends by it, and this follows. (An ignored signal would be inherited.)
    signal.signal(signal.SIGINT, lambda number, frame: None)
    status = os.waitpid(os.spawnvp(os.P_NOWAIT, command[0], command), 0)[1]  # noqa: S606
    return os.waitstatus_to_exitcode(status)


def _program(text: str) -> int:
    import asyncio
    import json
    import logging
    import runpy
    from concurrent.futures import ThreadPoolExecutor

    wanted = json.loads(text)
    program, debug = wanted.pop("program"), wanted.pop("debug")
    try:
        import pulumi
        import pulumi.runtime
    except ImportError as error:
        print(f"The program's Python ({sys.executable}) has no Pulumi SDK: {error}", file=sys.stderr)
        return 1
    collect_seldom()
    pulumi.runtime.set_all_config(pulumi.runtime.get_config_env(), pulumi.runtime.get_config_secret_keys_env())
    pulumi.runtime.configure(pulumi.runtime.Settings(**wanted))
    if not debug:
        # the SDK sends a dozen lines for each resource, each a call, that nobody would see
        pulumi.log.debug = lambda *arguments, **options: None
    sys.argv = [program]
    if os.path.isfile(program):
        sys.path.insert(0, os.path.dirname(program))
    elif not os.path.isfile(os.path.join(program, "__main__.py")):
        pulumi.log.error(f"There is no __main__.py in {program}.")
        return 32
    # What a failed resource leaves unobserved is no news: the engine reports the failure.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)

    async def run() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=wanted["parallel"] * 4))

        async def program_itself() -> None:
            runpy.run_path(program, run_name="__main__")
            # Only now do its registrations begin, so that the SDK waits for each of them and then for what is left of the outputs.
            # Otherwise it waits for all the outputs at once (forty of each resource), anew for each that comes: 5 s of 500 resources.
            await asyncio.sleep(0)

        await pulumi.runtime.run_in_stack(program_itself)

    try:
        asyncio.run(run())
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return 32
    except SystemExit as error:
        if error.code not in (None, 0):
            pulumi.log.error(f"The program called sys.exit({error.code!r}).")
            return 32
        return 33  # what was registered until then is done, but nobody knows whether it was all
    except Exception as error:  # noqa: BLE001 - whatever the user's program raises is shown to the user
        pulumi.log.error("The program failed:\n" + _of_the_user(error, program))
        return 32
    return 0


def _of_the_user(error: BaseException, program: str) -> str:
    """The exception with those lines of its traceback that are in the user's files."""
    import traceback

    own = os.path.dirname(os.path.abspath(program)) if os.path.isfile(program) else os.path.abspath(program)
    # A program may chain its errors to a ring, or without an end: so far is followed, each once.
    seen: list[BaseException] = []
    first = error
    while True:
        if isinstance(error, SyntaxError):
            return "".join(traceback.format_exception_only(type(error), error)).rstrip()
        lines = []
        for frame in traceback.extract_tb(error.__traceback__, limit=-100):
            path = os.path.abspath(frame.filename)
            if path.startswith(own + os.sep) and "site-packages" not in path:
                lines.append(f"  {os.path.relpath(path, own)}:{frame.lineno} in {frame.name}: {frame.line}")
        message = "".join(traceback.format_exception_only(type(error), error)).rstrip()
        seen.append(error)
        cause = error.__cause__
        if lines or cause is None:
            return "\n".join([*lines, message])
        if len(seen) >= 100 or any(cause is one for one in seen):
            return "".join(traceback.format_exception_only(type(first), first)).rstrip()
        error = cause


if __name__ == "__main__":
    _follow_engine(int(sys.argv[1]))
    if sys.argv[2] == "host":
        _host(sys.argv[3], sys.argv[4:])
    elif sys.argv[2] == "watch":
        ended = _watch(sys.argv[3:])
        os._exit(ended if ended >= 0 else 128 - ended)
    else:
        code = _program(sys.argv[3])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # threads of the SDK that still wait for an answer must not keep the process
