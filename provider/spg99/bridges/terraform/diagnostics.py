"""Errors as Terraform's diagnostics: on the attribute, with the object's id and the request id, and what to do. No traceback, no secret.

Here: words and places. Not here: sending them (tfplugin).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from spg99.bridges.shared.inputs import failures_of
from spg99.bridges.shared.values import Failure
from spg99.bridges.terraform.schema import Block
from spg99.errors import Spg99Error, kind_and_place
from tfplugin.interface import Diagnostic, error, warning


def on_path(
    block: Block, path: Sequence[str | int], summary: str, detail: str, *, is_warning: bool = False
) -> Diagnostic:
    """A diagnostic on a field. Only the first step is sent: with a deeper one inside a nested attribute the command line
    points to the resource's header instead of the line. The rest is named in the text."""
    make = warning if is_warning else error
    if not path:
        return make(summary, detail)
    first = attribute_name(block, str(path[0]))
    deeper = path_text((first, *path[1:]))
    return make(summary, f"{deeper}: {detail}" if len(path) > 1 else detail, (first,) if first else ())


def attribute_name(block: Block, field: str) -> str:
    """The attribute that carries a field; the field's own name where none does."""
    found = next(
        (
            each.name
            for each in block.attributes
            if each.role == "write_only" and each.field and each.field.name == field
        ),
        None,
    )
    return found or field


def path_text(path: Sequence[str | int]) -> str:
    """A path as one writes it: `steps[0].max_items`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def of_failures(block: Block, failures: Iterable[Failure]) -> list[Diagnostic]:
    """One error for each thing that is wrong with what the user wrote."""
    found = []
    for failure in failures:
        name = path_text((attribute_name(block, str(failure.path[0])), *failure.path[1:])) if failure.path else ""
        reason = failure.reason[:1].upper() + failure.reason[1:]
        summary = f"Invalid value for {name}" if name else "Invalid configuration"
        found.append(on_path(block, failure.path, summary, f"{reason.rstrip('.')}."))
    return found


def of_warnings(block: Block, failures: Iterable[Failure]) -> list[Diagnostic]:
    """One warning for each field in use that is deprecated, with its replacement."""
    return [
        on_path(
            block, item.path, f"{attribute_name(block, str(item.path[0]))} is deprecated", item.reason, is_warning=True
        )
        for item in failures
    ]


def of_error(block: Block | None, problem: Spg99Error, *, doing: str) -> list[Diagnostic]:
    """An error of the Control Plane or the client. `doing` begins the summary: `Creating database 'acme/app' failed`."""
    facts = [f"Request id: {problem.request_id}."] if problem.request_id else []
    tail = "\n\n" + " ".join(facts) if facts else ""
    noun = block.noun if block is not None else None
    if block is not None and noun is not None and problem.fields:
        placed = []
        for failure in failures_of(noun.inputs, problem):
            reason = f"{failure.reason[:1].upper()}{failure.reason[1:]}".rstrip(".")
            placed.append(on_path(block, failure.path, doing, f"{reason}. {problem.message}{tail}".strip()))
        return placed
    others = "".join(f" {name}: {reason}" for name, reason in problem.fields.items())
    after = f" It asks to wait {problem.retry_after_seconds} s." if problem.retry_after_seconds else ""
    return [error(doing, f"{problem.message}{others}{after}{tail}")]


def of_surprise(problem: BaseException, *, doing: str) -> Diagnostic:
    """A fault of ours. Which kind and where only: the text of an unexpected error may hold a value that is secret."""
    return error(
        doing,
        f"The spg99 provider failed unexpectedly ({kind_and_place(problem)}). This is a bug: please report it. "
        "What was known of the object is kept in the state.",
    )


def summary(verb: str, noun: str, human_id: Any = "") -> str:
    """`Creating database 'acme/app' failed`."""
    named = f" '{human_id}'" if isinstance(human_id, str) and human_id else ""
    return f"{verb} {noun.replace('_', ' ')}{named} failed"
