"""Flags for the fields of a spec: `--idle-timeout-seconds`, typed and described by the model. Not here: checking (the API)."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, get_args, get_origin

import click

from spg99.commands.click_types import Repeated, click_type, plain_type
from spg99.resources import Mark, Spec, marks_of


def field_options(
    spec: type[Spec], *, leave_out: frozenset[str], of_create: bool = False
) -> list[Callable[[Any], Any]]:
    """An option for each field. None (or no value) means: not given. A create demands some and has defaults for the others."""
    return [
        _option(name, field, of_create=of_create) for name, field in spec.model_fields.items() if name not in leave_out
    ]


def _option(name: str, field: Any, *, of_create: bool) -> Callable[[Any], Any]:
    required = of_create and field.is_required()
    kind, flag = plain_type(field.annotation), f"--{name.replace('_', '-')}"
    help_text = " ".join((field.description or "").split())
    facts = ["immutable"] if Mark.IMMUTABLE in marks_of(field) else []
    default = None if field.is_required() else field.get_default(call_default_factory=True, validated_data={})
    # An update leaves alone what is not given: a default shown there would read as if it were reset.
    if of_create and not required and default not in (None, []):
        facts.append(f"default: {str(default).lower() if isinstance(default, bool) else default}")
    if facts:
        help_text += f"  [{'; '.join(facts)}]"
    attributes: dict[str, Any] = {"default": None, "help": help_text, "required": required}
    if Mark.SECRET in marks_of(field):
        # Not the secret itself: a command line stands in the list of processes and in the shell's history.
        attributes["help"] = f"{help_text}  [a file that holds it; - reads standard input]"
        return click.option(f"{flag}-file", name, type=click.File(), callback=_first_line, **attributes)
    if kind is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, **attributes)
    many = get_origin(kind) is list
    if many:
        kind = get_args(kind)[0]
        attributes |= {"cls": Repeated, "help": f"{help_text}  [repeat the option for each]"}
    is_enum = isinstance(kind, type) and issubclass(kind, Enum)
    attributes["type"] = click.Choice([member.value for member in kind]) if is_enum else click_type(kind)
    return click.option(flag, name, **attributes)


def _first_line(_context: click.Context, parameter: click.Parameter, file: Any) -> str | None:
    if file is None:
        return None
    text = file.readline().rstrip("\r\n")
    if not text:
        raise click.BadParameter("The file is empty.", param=parameter)
    return str(text)
