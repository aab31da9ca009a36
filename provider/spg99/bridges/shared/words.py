"""What the tools call things, for sentences that tell a user what to do. Here: words. Not here: when they are said (operations.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from spg99.emit.names import camel


class Words(NamedTuple):
    """The words of one tool. The defaults fit any."""

    apply: str = "the next run"
    """What makes things as declared."""
    refresh: str = "Refresh the state"
    """How the tool learns of what happened outside; begins a sentence."""
    time_limit: str = "its time limit"
    """The limit, and where a user sets another."""
    adopt: str = "import it under the id '{id}'"
    """How to manage an object that exists; `{id}`, `{noun}`, `{title}` and `{collection}` are filled in."""
    moved: str = "if it was only renamed or moved in the program, tell the tool so"
    renamed: str = "tell the tool that it is {old}"
    """How to say that a resource is another one under a new name; `{old}` (how the tool names that) and `{noun}` are filled in."""
    replace: str = "Delete it first, then create it again."
    """How to replace an object that exists, and how not to; `{agree}` is filled in where data would be lost."""
    spelling: Callable[[str], str] = str
    """How users of the tool write our field names."""


ANY_TOOL = Words()

_PULUMI_REPLACE = (
    "To replace it, give the resource the option {option}{agree}; to keep it, take back what forces the replacement "
    "(`pulumi state untaint`, no --replace, no replacement trigger)."
)

_PULUMI_RENAMED = 'give it the option `aliases=["{old}"]`'

PULUMI_DYNAMIC = Words(
    apply="the next `pulumi up`",
    refresh="Run `pulumi refresh`",
    time_limit="its time limit (option custom_timeouts)",
    adopt="write an import file (`spg99 import-file {collection}:{id} -o import.json`) and take it in "
    "(`pulumi import --file import.json --generate-code=false`, or `spg99 import`)",
    moved="if this resource was only renamed or moved in the program, give it the option `aliases`",
    renamed=_PULUMI_RENAMED,
    replace=_PULUMI_REPLACE.format(option="delete_before_replace", agree="{agree}"),
)
"""Pulumi's dynamic provider: Python programs only, so names are in snake case."""

PULUMI = Words(
    apply="the next `pulumi up`",
    refresh="Run `pulumi refresh`",
    time_limit="its time limit (option customTimeouts)",
    adopt="run `pulumi import spg99:index:{title} <name in the program> {id}`, or give the resource the option "
    "`import` with '{id}'",
    moved="if this resource was only renamed or moved in the program, give it the option `aliases`",
    renamed=_PULUMI_RENAMED,
    replace=_PULUMI_REPLACE.format(option="deleteBeforeReplace", agree="{agree}"),
    spelling=camel,
)
"""The native plugin."""

TERRAFORM = Words(
    apply="the next apply",
    refresh="Refresh (`terraform plan` does)",
    time_limit="its time limit (`timeouts` in the resource)",
    adopt='write `import {{ to = spg99_{noun}.<name>, id = "{id}" }}` into the configuration, or run '
    "`terraform import spg99_{noun}.<name> {id}`",
    moved="if this resource was only renamed or moved in the configuration, write a `moved` block",
    renamed="write `moved {{ from = spg99_{noun}.<old name>, to = spg99_{noun}.<new name> }}`",
)
"""Terraform and OpenTofu."""
