"""The user's program, in its language: starting it, waiting for it, what its end means. Here: Python and Node.js, which are processes,
and YAML, which this engine evaluates itself (yaml_program/). Not here: what a program asks for (monitor.py)."""

from __future__ import annotations

import json
import signal
import time

from spg99.engine import nodejs
from spg99.engine.children import Child, interpreter, python_program
from spg99.engine.events import Message
from spg99.engine.project import config_environment
from spg99.engine.providers import Providers
from spg99.engine.run import Run
from spg99.engine.workspace import Workspace
from spg99.engine.yaml_program import run as yaml_run
from spg99.exits import how_it_ended

# How long a program that gets no more answers may take to end by itself.
_GRACE_SECONDS = 10
QUIET_SECONDS = 15.0
"""So long may a program wait for something of its own before the user is told, and told again."""
# A Python program that called sys.exit(0); its SDK says "that was all" nevertheless.
_ENDED_ITSELF = 33
# Both SDKs end with it when they have told the engine what was wrong.
_SAID_WHY = 32


def run_program(run: Run, providers: Providers, workspace: Workspace) -> bool:
    """Runs the program to its end; answers whether it ended well. Raises BadRequest when it cannot be started."""
    providers.warm_up()
    if run.project.language == "yaml":
        workspace.crypter.check()
        return yaml_run.run(run, providers.address)
    if run.project.language == "nodejs":
        command, environment = nodejs.command_and_environment(run, providers.address)
    else:
        command, environment = _python(run, providers.address), {"PYTHONUNBUFFERED": "1"}
    program = Child(
        command,
        cwd=run.project.program_folder,
        environment=run.environment | config_environment(run.config) | environment,
        on_line=lambda line: run.publish(Message("info", line)),
    )
    program.follow_output()
    program.announce_end()
    try:
        workspace.crypter.check()  # it takes a moment; the program's start takes longer
        code = _wait(program, run)
    finally:
        program.kill()
    if code is None:
        return False
    if code == _ENDED_ITSELF:
        run.whole, code = False, 0
    if code not in (0, _SAID_WHY) and not run.stop.is_set():
        run.fail(_ended_early(code))
    elif code == _SAID_WHY and not run.result.failures:
        run.fail("The program failed.")
    return code == 0


def _ended_early(code: int) -> str:
    memory = " The machine may have run out of memory." if code in (-signal.SIGKILL, 128 + signal.SIGKILL) else ""
    ended = "was ended by" if code < 0 else "ended with"
    return (
        f"The program {ended} {how_it_ended(code)}.{memory} What it registered is done; whether it wants more is not known, so "
        "nothing that it did not register was deleted."
    )


def _python(run: Run, address: str) -> list[str]:
    settings = {
        "program": str(run.project.program),
        "project": run.project.name,
        "stack": run.stack,
        "organization": "organization",
        "parallel": run.options.parallel,
        "dry_run": run.dry_run,
        "monitor": address,
        "engine": address,
        "root_directory": str(run.project.root),
        "debug": run.options.debug,
    }
    return python_program(interpreter(run.project), json.dumps(settings))


def _wait(program: Child, run: Run) -> int | None:
    """The program's exit code; None when it had to be ended."""
    # Once the run is stopping every request is answered, so the program ends by itself when what is in flight has ended.
    warned_at = 0.0
    while not program.ended.wait(0.1) and (run.in_flight() or not run.stop.is_set()):
        quiet_since = max(run.heard_at, warned_at)
        if run.in_flight():
            run.heard_at = time.monotonic()
        elif time.monotonic() - quiet_since >= QUIET_SECONDS and run.registered:
            warned_at = time.monotonic()
            run.publish(
                Message(
                    "warning",
                    f"Everything the program has asked for is done; for {warned_at - run.heard_at:.0f} s it has been waiting for "
                    "something of its own. Ctrl-C ends it: what is registered stays, and nothing is deleted.",
                )
            )
    return program.wait() if program.ended.wait(_GRACE_SECONDS) else None
