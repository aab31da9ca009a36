"""`spg99 orphans`: lists what a stack or state made and does not hold, takes it in, or deletes it. Here: options, words, exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click

from spg99.client import Client
from spg99.commands.connection import Connection, with_address
from spg99.commands.nouns import NAMINGS
from spg99.commands.orphans.rules import Declared, Sorted, holds_any, in_order_of_deletion, orphans_of
from spg99.commands.orphans.sources import TOOLS, Asked, Source, source
from spg99.commands.rendering import show_many
from spg99.commands.verbs import finished
from spg99.errors import BadRequest, Conflict, NotFound, Spg99Error
from spg99.reach import PAGE_ITEMS_MAX
from spg99.resources import NOUNS, Resource

FOUND = 3
"""Exit code: there are orphans. 0 none, 1 an error, 2 wrong usage, as everywhere."""
UNKNOWN = (
    "Objects from before spg99 noted who declares them, and those of clients that do not say, cannot be known to be orphans: they are "
    "in no such list until a run changes them."
)
WHAT_TO_DO = (
    "\nWhat the next run declares it finds again by itself, for a day. The rest: the same command with `--import` takes it in, with `--delete` "
    "deletes it after a question."
)
KINDS = {kind.NOUN: kind for kind in NOUNS}


class Report(NamedTuple):
    """What was found."""

    source: Source
    found: Sorted
    is_known: bool
    """The state holds something that was declared under its name."""


@click.command("orphans")
@click.option(
    "--for", "tool", type=click.Choice(list(TOOLS)), help="Tool of the state.  [default: what the folder is of]"
)
@click.option(
    "--state", "file", metavar="FILE", help="State in a file, `-` for stdin.  [default: asks the backend or tool]"
)
@click.option("--stack", "-s", help="Pulumi's stack.  [default: the selected one]")
@click.option("--backend", help="Pulumi's backend.  [default: as `pulumi` and `spg99 up` choose it]")
@click.option(
    "--cwd", "-C", type=click.Path(file_okay=False, path_type=Path), default=Path("."), help="Folder of the project."
)
@click.option(
    "--name", help="What the platform calls the state: PROJECT/STACK, or the provider's state_name.  [env: SPG99_STATE_NAME]"
)  # fmt: skip
@click.option(
    "--older-than",
    type=click.IntRange(0),
    default=0,
    metavar="SECONDS",
    help="Leave out what a run may just be making.",
)
@click.option("--any-key", is_flag=True, help="Also what was declared with other API keys, under the same name.")
@click.option("--import", "take_in", is_flag=True, help="Take them in: into the stack, or write what the tool takes.")
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="With --import: the file to write."
)
@click.option("--delete", is_flag=True, help="Delete them for good, after a question.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option(
    "--allow-empty-state", is_flag=True, help="With --yes: also when the state holds nothing that the platform knows."
)
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
@with_address
def orphans(
    connection: Connection,
    older_than: int,
    any_key: bool,
    take_in: bool,
    output: Path | None,
    delete: bool,
    yes: bool,
    allow_empty_state: bool,
    **asked: Any,
) -> None:
    """Objects that this stack or state made and does not hold.

    A run that is killed between a create and its answer leaves an object that no state knows. The platform knows who declared it. Exit
    code: 0 there are none (left), 3 there are some, 1 an error. Creates that are pending in the state count as not held. Run it while no
    other run of the stack is under way.
    """
    if take_in and delete:
        raise click.UsageError("--import or --delete, not both.")
    if output is not None and not take_in:
        raise click.UsageError("--output goes with --import.")
    report = _report(connection, source(Asked(**asked)), older_than, any_key=any_key)
    left = len(report.found.orphans)
    if connection.as_json:
        click.echo(json.dumps(_as_json(report), indent=2))
    else:
        _show(report)
    if not left or not (take_in or delete):
        if left and not connection.as_json:
            click.echo(WHAT_TO_DO, err=True)
        sys.exit(FOUND if left else 0)
    if take_in:
        from spg99.commands.orphans.importing import import_them  # brings a bridge and an engine along

        import_them(connection, report.source, report.found.orphans, output, yes=yes)
        return
    _check_may_delete(report, yes=yes, allow_empty_state=allow_empty_state)
    if not yes:
        click.confirm(f"Delete {_counted(left)} for good, with all data?", abort=True, err=True)
    _delete(connection, report)


def _report(connection: Connection, of: Source, older_than: int, *, any_key: bool) -> Report:
    declared = connection.call(lambda client: _declared(client, of.name))
    found = orphans_of(declared, of.state.held, now=datetime.now(UTC), older_than_seconds=older_than, any_key=any_key)
    return Report(of, found, holds_any(declared, of.state.held))


async def _declared(client: Client, name: str) -> list[Declared]:
    """All that is declared under a name, page by page."""
    found: list[Declared] = []
    params: dict[str, Any] = {"state": name, "limit": PAGE_ITEMS_MAX}
    while True:
        try:
            page = await client.call("GET", "/declarations", params=params)
        except NotFound as error:
            raise BadRequest(
                "This Control Plane does not know who declares its objects: it is older than this command.",
                request_id=error.request_id,
            ) from error
        found += [Declared.of(item) for item in page["items"]]
        if page.get("next_cursor") is None:
            return found
        params["cursor"] = page["next_cursor"]


def _as_json(report: Report) -> dict[str, Any]:
    def rows(of: Sequence[Declared]) -> list[dict[str, Any]]:
        pending = set(report.source.state.pending)
        return [
            each._asdict() | {"declared_at": each.declared_at.isoformat(), "is_pending": each.resource in pending}
            for each in of
        ]

    return {
        "state": report.source.name,
        "orphans": rows(report.found.orphans),
        "known_elsewhere": rows(report.found.elsewhere),
        "of_other_keys": rows(report.found.other_keys),
        "note": UNKNOWN,
    }


def _show(report: Report) -> None:
    name, found = report.source.name, report.found
    rows = [each._asdict() | {"declared_at": each.declared_at.isoformat(timespec="seconds")} for each in found.orphans]
    nothing = f"{name} has no orphans: it holds all that it is known to have made."
    show_many(rows, ["noun", "id", "uid", "declared_at", "resource"], as_json=False, nothing=nothing)
    if not report.is_known and (rows or not report.source.state.held):
        click.echo(f"\nThe state holds nothing that was declared as {name}. Is it the right one?", err=True)
    elif not report.is_known:
        click.echo(
            f"\nNothing that the state holds was declared as {name}. Another name (--name), or objects from before spg99 noted it?",
            err=True,
        )
    for each in found.elsewhere:
        click.echo(
            f"\nLeft out: {each.noun} {each.id}, which {each.also_known_to} has read as its own since. If nobody wants it: "
            f"`spg99 {NAMINGS[KINDS[each.noun]].command} delete {each.id}`.",
            err=True,
        )
    if found.other_keys:
        ids = ", ".join(each.id for each in found.other_keys[:5])
        click.echo(
            f"\nLeft out: {_counted(len(found.other_keys))} declared with other API keys ({ids}{' ...' if found.other_keys[5:] else ''}). "
            "They are another's if somebody's stack is called the same; --any-key counts them in.",
            err=True,
        )
    _show_torn(report.source)
    _show_pending(report.source, found.orphans)
    click.echo(f"\n{UNKNOWN}", err=True)


def _show_torn(source: Source) -> None:
    """What to type where the Pulumi CLI was killed in the middle of its own write and cannot load the stack any more."""
    if source.workspace is not None and (torn := source.workspace.stack.torn_attributes()):
        click.echo(
            f"\nThe Pulumi CLI was killed while it wrote {torn[0]}, and cannot load the stack any more. The state is whole; type:\n"
            f"  spg99 cancel{source.options}",
            err=True,
        )


def _show_pending(source: Source, orphans: Sequence[Declared]) -> None:
    """What to type about operations that are noted as pending in the state: creates that made an object, creates that did not, and
    changes and deletions, of which nobody noted whether they were carried out."""
    count = len(source.state.pending) + len(source.state.interrupted)
    if not count:
        return
    from spg99.commands.orphans.taking_in import commands_for_pending

    click.echo(
        f"\n{count} {'operation is' if count == 1 else 'operations are'} pending in the state ({len(source.state.pending)} to create, "
        f"{len(source.state.interrupted)} to change or delete). `spg99 up` settles that by itself; where the Pulumi CLI runs the stack, type:",
        err=True,
    )
    for command in commands_for_pending(
        orphans, source.state, in_files=source.workspace is not None, options=source.options
    ):
        click.echo(f"  {command}", err=True)


def _check_may_delete(report: Report, *, yes: bool, allow_empty_state: bool) -> None:
    """Without a person who looks, nothing is deleted on a guess."""
    if not yes:
        return
    if report.source.is_guessed:
        raise BadRequest(
            f"The name {report.source.name} is that of a folder: another state may be called the same. Say it with --name to delete "
            "without a question, or give the state a name (`state_name` in the provider's block, SPG99_STATE_NAME)."
        )
    if not report.is_known and not allow_empty_state:
        raise BadRequest(
            f"The state holds nothing that was declared as {report.source.name}: if it is the wrong one, or was lost, all that it made would be "
            "deleted. Say --allow-empty-state if that is meant; `--import` brings a lost state back."
        )


def _delete(connection: Connection, report: Report) -> None:
    """Deletes what may be deleted. Raises Conflict that names what may not."""
    doomed = in_order_of_deletion(report.found.orphans)
    kept = connection.call(lambda client: _delete_all(client, doomed))
    if kept:
        raise Conflict(
            f"{_counted(len(kept))} could not be deleted and {'is' if len(kept) == 1 else 'are'} still there: "
            + " ".join(kept)
        )
    pending = set(report.source.state.pending) & {each.resource for each in doomed}
    if pending:
        click.echo(
            "Their notes in the state go with the next `spg99 up`, or `pulumi refresh --clear-pending-creates`.",
            err=True,
        )


async def _delete_all(client: Client, doomed: Sequence[Declared]) -> list[str]:
    """Deletes one after the other; answers a sentence for each that is still there. Never forced: protection and clients hold."""
    kept = []
    for each in doomed:
        kind = KINDS[each.noun]
        # The uid makes sure that it is this very object: its name may be another's by now.
        query = {"uid": each.uid} if kind.UID_FIELD not in kind.id_fields() else None
        try:
            operation = await client.delete(kind, kind.id_values(each.id), query=query)
            if operation is not None:
                await finished(client, operation)
        except NotFound:
            pass  # somebody was quicker, or it went with its tenant
        except Spg99Error as error:
            kept.append(f"{each.noun} {each.id}: {error.message}")
            continue
        click.echo(f"{each.noun} {each.id} is deleted.", err=True)
    return kept


async def read_all(client: Client, orphans: Sequence[Declared]) -> list[tuple[Declared, Resource]]:
    """The orphans as they are now; those that are gone meanwhile are left out."""
    found: list[tuple[Declared, Resource]] = []
    for each in orphans:
        kind = KINDS[each.noun]
        try:
            thing: Resource = await client.read(kind, kind.id_values(each.id))
        except NotFound:
            continue
        if getattr(thing, kind.UID_FIELD) == each.uid:
            found.append((each, thing))
    return found


def _counted(number: int) -> str:
    return "1 object" if number == 1 else f"{number} objects"
