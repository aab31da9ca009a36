"""Preview, up, refresh, destroy. Here: one run from lock to last write. Not here: single resources (registration.py,
deletion.py, refresh.py), commands (cli.py)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from spg99.engine import lock, refresh
from spg99.engine.deletion import delete_all, leftovers, refusal_of
from spg99.engine.events import Listener, Message, Outputs, Result
from spg99.engine.graph import dependents, matcher, others
from spg99.engine.guarded import guarded
from spg99.engine.interrupt import handled
from spg99.engine.monitor import Monitor
from spg99.engine.program import run_program
from spg99.engine.providers import Providers
from spg99.engine.run import DEFAULT_PARALLEL, Options, Run
from spg99.engine.settling import settle_interrupted
from spg99.engine.snapshot import Snapshot
from spg99.engine.state import Resource
from spg99.engine.urns import STACK_TYPE, is_default_provider, is_provider, name_of
from spg99.engine.workspace import Workspace, need_passphrase, open_workspace
from spg99.errors import Spg99Error


def _silent(event: object) -> None:
    return None


@contextmanager
def running(workspace: Workspace, options: Options, listener: Listener) -> Iterator[tuple[Run, Providers]]:
    """A run with its lock, its memory, its server and its providers; all of them ended afterwards."""
    with ExitStack() as stack:
        need_passphrase_if_kept(workspace)
        notes = [] if options.dry_run else stack.enter_context(lock.held(workspace.stack))
        deployment = workspace.deployment()
        snapshot = Snapshot(deployment, workspace.crypter, None if options.dry_run else workspace.stack)
        run = Run(
            project=workspace.project,
            stack=workspace.stack.name,
            options=options,
            config=workspace.config(),
            environment=workspace.environment,
            snapshot=snapshot,
            olds={r.urn: r for r in deployment.resources if not r.delete},
            listener=listener,
            cwd=workspace.cwd,
        )
        for text in notes:
            run.publish(Message("warning", text))
        run.dirty = bool(deployment.operations)
        run.result.outputs = deployment.outputs()
        monitor = Monitor(run)
        server, address = monitor.serve()
        stack.callback(server.stop, 0)
        providers = monitor.providers = Providers(run, address, workspace.packages)
        stack.callback(providers.close)

        def first() -> None:
            run.publish(Message("warning", "Stopping: what is in flight is ended. Interrupt again to kill it."))
            run.cancel()
            providers.cancel()

        stack.enter_context(handled(first, providers.kill))
        try:
            if not options.dry_run:
                workspace.stack.back_up()
            if options.clear_pending_creates:
                run.snapshot.keep_unresolved([])
            if not (options.dry_run and lock.holders(workspace.stack)):  # those are under way, not interrupted
                settle_interrupted(run, providers)
            yield run, providers
        except Spg99Error as error:
            run.fail(error.message)
        if not options.dry_run and _saved(run, workspace):
            providers.cancel()  # as Pulumi does when it ends in order: they may forget what the state holds now
        if run.result.cancelled and not run.result.failures:
            run.fail("The run was interrupted. What was done until then is in the state.")
        run.result.seconds = time.perf_counter() - run.began


def _saved(run: Run, workspace: Workspace) -> bool:
    """Writes the state where anything has changed in it, and whether the file is known to hold all of it now."""
    if not run.dirty:
        return not run.result.failures  # what could not be written in the middle of the run is a failure
    try:
        run.snapshot.save()
        if run.snapshot.has_secrets:
            workspace.settings.remember_salt(workspace.crypter)
    except Spg99Error as error:
        if error.message not in {f.message for f in run.result.failures}:
            run.fail(error.message)
        return False
    return True


def need_passphrase_if_kept(workspace: Workspace) -> None:
    """The stack must exist, and its passphrase be at hand before anything is changed."""
    if not workspace.stack.exists():
        workspace.stack.read()  # says what is missing
    need_passphrase(workspace)


def deploy(workspace: Workspace, options: Options, listener: Listener = _silent) -> Result:
    """Brings the stack to what the program says (`up`), or shows what that would mean (`preview`)."""
    with running(workspace, options, listener) as (run, providers):
        if run_program(run, providers, workspace) and not run.result.failures and not run.stop.is_set():
            _delete_leftovers(run, providers)
    return run.result


def _delete_leftovers(run: Run, providers: Providers) -> None:
    doomed = leftovers(run)
    if not run.whole:
        _say_that_nothing_is_deleted(run, doomed)
    elif _targets_cover(run, doomed) and not _says_what_is_guarded(run, doomed):
        delete_all(run, providers, doomed)


def _says_what_is_guarded(run: Run, doomed: Sequence[Resource]) -> bool:
    """Before the first deletion: whether one of them would be refused in the end."""
    found = guarded(doomed, run.snapshot.resources())
    for resource, reason in found:
        run.fail(reason, resource.urn)
    return bool(found)


def _say_that_nothing_is_deleted(run: Run, doomed: Sequence[Resource]) -> None:
    """The program ended itself, so nobody knows whether what it registered was all that it wants."""
    ended = "The program ended itself before its end (`sys.exit`, `os._exit`, `process.exit`)."
    of_the_engine = [r.urn for r in doomed if is_default_provider(r.urn) or r.type == STACK_TYPE]
    unseen = [name_of(r.urn) for r in doomed if not r.delete and r.urn not in of_the_engine]
    if not unseen:
        run.publish(Message("warning", f"{ended} What it registered is done."))
        return
    named = ", ".join(unseen[:5]) + (f" and {len(unseen) - 5} more" if len(unseen) > 5 else "")
    run.fail(
        f"{ended} What it registered is done. It did not register {named}, which the state has: nothing of that was deleted, "
        "because it may only not have come to it. Let the program run to its end."
    )


def _targets_cover(run: Run, doomed: Sequence[Resource]) -> bool:
    """With targets: what needs a doomed resource must be a target itself, or be meant by `--target-dependents`."""
    if run.options.targets is None or run.options.target_dependents:
        return True
    going = {r.urn for r in doomed}
    current = [r for r in run.snapshot.resources() if not r.delete]
    forgotten = dependents(going - {r.urn for r in doomed if r.delete}, current)
    for urn in sorted(forgotten):
        run.fail("It needs a target that is to be deleted. Name it as a target too, or add --target-dependents.", urn)
    return not forgotten


def destroy_stack(workspace: Workspace, options: Options, listener: Listener = _silent) -> Result:
    """Deletes all (or the targets) of the stack. Nothing is deleted when anything of it is protected."""
    with running(workspace, options, listener) as (run, providers):
        workspace.crypter.check()
        current = run.snapshot.resources()
        doomed = [r for r in current if run.targeted(r.urn)]
        if run.options.targets is not None:
            if run.options.target_dependents:
                going = {r.urn for r in doomed}
                going |= dependents(going, current)
                doomed = [r for r in current if r.urn in going]
            needed = {r.provider for r in others(current, doomed)}
            doomed = [r for r in doomed if not (is_provider(r.type) and r.reference in needed)]
        refused = [(r, reason) for r in doomed if (reason := refusal_of(run, r))]
        refused += guarded(doomed, current)
        for resource, reason in refused:
            run.fail(reason, resource.urn)
        if not refused and _targets_cover(run, doomed):
            old_outputs = workspace.deployment().outputs() if options.targets is None else {}
            delete_all(run, providers, doomed)
            if options.targets is None:
                _name_what_may_be_left(run)
            if old_outputs and not run.result.failures:
                run.publish(Outputs(old_outputs, {}))
            if options.targets is None and not run.result.failures:
                run.result.outputs = {}
    return run.result


def _name_what_may_be_left(run: Run) -> None:
    for operation in run.snapshot.unresolved():
        if operation.type == "creating":
            run.fail(
                "An earlier run was interrupted while creating it, so it may exist (`spg99 orphans` tells, of what spg99 makes). Run `up` (it "
                "is created again under the same name) and then `destroy`; or, if you know it is not there, `refresh --clear-pending-creates`.",
                operation.resource.urn,
            )


def refresh_stack(workspace: Workspace, options: Options, listener: Listener = _silent) -> Result:
    """Brings the state to what really is. When anything cannot be read, the state stays as it was."""
    with running(workspace, options, listener) as (run, providers):
        workspace.crypter.check()
        refresh.refresh_all(run, providers)
    return run.result


_Operation = Callable[[Workspace, Options, Listener], Result]


def _run(operation: _Operation, dry_run: bool) -> Callable[..., Result]:
    def run(
        project_dir: Path | str,
        stack: str,
        *,
        backend_url: str | None = None,
        env: Mapping[str, str] | None = None,
        config: Mapping[str, str] | None = None,
        parallel: int = DEFAULT_PARALLEL,
        targets: Sequence[str] = (),
        target_dependents: bool = False,
        clear_pending_creates: bool = False,
        create_stack: bool = False,
        listener: Listener = _silent,
        dry_run: bool = dry_run,
    ) -> Result:
        workspace = open_workspace(Path(project_dir), stack, url=backend_url, environment=env, config=config)
        if create_stack and not workspace.stack.exists():
            workspace.stack.create()
        options = Options(
            dry_run=dry_run,
            parallel=parallel,
            targets=matcher(targets) if targets else None,
            target_dependents=target_dependents,
            clear_pending_creates=clear_pending_creates,
        )
        return operation(workspace, options, listener)

    return run


run_preview = _run(deploy, True)
run_up = _run(deploy, False)
run_refresh = _run(refresh_stack, False)
run_destroy = _run(destroy_stack, False)
