"""How click reads a value of a field's type, for flags of settings (options.py) and of specs (fields.py). Not here: checking values.

Apart from options.py because a command on nouns has no use for the settings of servers, a third of its start."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import click


class Repeated(click.Option):
    """An option that is given once for each value: `a,b` in one is answered with how to write it. Its values hold no comma."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **(attributes | {"multiple": True}))

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """As click does. Raises BadParameter."""
        for text in value or ():
            if isinstance(text, str) and "," in text:
                flag = self.opts[0]
                each = " ".join(f"{flag} {part.strip()}" for part in text.split(",") if part.strip())
                raise click.BadParameter(f"'{text}' is more than one: repeat the option for each ({each}).", ctx, self)
        return super().type_cast_value(ctx, value)


def plain_type(annotation: Any) -> Any:
    """The type without `| None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return plain_type(kinds[0]) if len(kinds) == 1 else str
    return annotation


def click_type(kind: Any) -> Any:
    """How click reads a value of this type; finer rules are the Settings' own."""
    if get_origin(kind) is Literal:
        return click.Choice([str(choice) for choice in get_args(kind)])
    if kind is Path:
        return click.Path(path_type=Path)
    return kind if kind in (int, float) else str
