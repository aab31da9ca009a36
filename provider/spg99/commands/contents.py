"""The table of contents of `spg99`: every command, its section, its line of help, and where it lives.

Nothing is imported for it, so that `spg99 --help` is quick and `spg99 gateway` never loads Pulumi.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Entry(NamedTuple):
    """One command."""

    name: str
    where: str
    """`module:attribute`; with `[name]` after it the attribute is a list of commands."""
    line: str
    """What it does, in a line. The whole text is `spg99 <command> --help`."""


class Section(NamedTuple):
    """Commands that belong together."""

    title: str
    entries: tuple[Entry, ...]


_ENGINE = "spg99.engine.cli:COMMANDS"
_NOUNS = "spg99.commands.nouns:COMMANDS"

CONTENTS: Final[tuple[Section, ...]] = (
    Section(
        "Run",
        (
            Entry("dev", "spg99.commands.dev:dev", "Everything in one foreground process group, for this machine."),
            Entry("control-plane", "spg99.commands.servers:control_plane", "The HTTP API and the life of databases."),
            Entry("gateway", "spg99.commands.servers:gateway", "The TLS endpoint that wakes sleeping databases."),
            Entry("agent", "spg99.commands.servers:agent", "Runs the PostgreSQL processes of this node."),
            Entry(
                "safekeeper", "spg99.commands.servers:safekeeper", "Keeps the WAL of databases beside their computes."
            ),
            Entry(
                "pageserver", "spg99.commands.servers:pageserver", "Keeps the history of databases in the object store."
            ),
            Entry("migrate", "spg99.commands.migrate:migrate", "The catalogue's schema: up, down, status."),
            Entry(
                "storage",
                "spg99.commands.storage:storage",
                "The object store: checked, its master key, a lost catalogue.",
            ),
        ),
    ),
    Section(
        "Declare",
        (
            Entry("up", _ENGINE + "[up]", "Make what a Pulumi program declares."),
            Entry("preview", _ENGINE + "[preview]", "Show what `up` would do."),
            Entry("refresh", _ENGINE + "[refresh]", "Bring the state up to what really is."),
            Entry("destroy", _ENGINE + "[destroy]", "Remove everything in a stack."),
            Entry("stack", _ENGINE + "[stack]", "Stacks: list, select, outputs, export, import."),
            Entry("config", _ENGINE + "[config]", "Settings of a stack."),
            Entry("cancel", _ENGINE + "[cancel]", "Free a stack from the lock of a run that died."),
            Entry("import", _ENGINE + "[import]", "Take what exists into a stack."),
            Entry("import-file", "spg99.commands.import_file:import_file", "Write the import file for what exists."),
            Entry("orphans", "spg99.commands.orphans.command:orphans", "What a stack or state made and does not hold."),
            Entry("plugin", "spg99.commands.plugin:plugin", "Pulumi's native plugin: install it, pack it."),
            Entry("terraform", "spg99.commands.terraform:terraform", "The Terraform provider: install it."),
        ),
    ),
    Section(
        "Read and change",
        (
            Entry("tenants", _NOUNS + "[tenants]", "Tenants and their credentials."),
            Entry("dbs", _NOUNS + "[dbs]", "Databases: settings, state, start, stop, scale."),
            Entry("snapshots", _NOUNS + "[snapshots]", "Kept moments of databases."),
            Entry("schedules", _NOUNS + "[schedules]", "Snapshots that are made by themselves."),
            Entry("exports", "spg99.commands.exports:exports", "Archives of databases in the object store, and links."),
            Entry("branches", "spg99.commands.branches:branches", "Databases that begin in others."),
            Entry("moments", "spg99.commands.moments:moments", "Moments of databases that somebody reads."),
            Entry("keys", _NOUNS + "[keys]", "API keys."),
            Entry("credentials", _NOUNS + "[credentials]", "Tenants' passwords, managed: rotate, bring one."),
            Entry("account", "spg99.commands.account:account", "The account this API key belongs to."),
            Entry("events", "spg99.commands.events:events", "What happens, as it happens."),
            Entry("nodes", "spg99.commands.nodes:nodes", "The machines that run databases: list, drain, remove."),
            Entry(
                "safekeepers",
                "spg99.commands.safekeepers:safekeepers",
                "The processes that keep WAL: list, remove a lost one.",
            ),
            Entry("operations", "spg99.commands.operations:operations", "What became of an asynchronous call."),
        ),
    ),
    Section(
        "Connect",
        (
            Entry("psql", "spg99.commands.psql:psql", "Open a database in psql."),
            Entry("env", "spg99.commands.env:env", "Variables of the running `dev`, for the shell."),
        ),
    ),
    Section(
        "Help",
        (Entry("doctor", "spg99.commands.doctor:doctor", "Check this machine and say what to do."),),
    ),
)

UNLISTED: Final[tuple[Entry, ...]] = (
    Entry("catalogue", "spg99.commands.servers:catalogue", "The embedded catalogue; `spg99 dev` starts it."),
)
"""Commands that people do not type."""


def entries() -> dict[str, Entry]:
    """Every command by its name."""
    listed = [entry for section in CONTENTS for entry in section.entries]
    return {entry.name: entry for entry in (*listed, *UNLISTED)}
