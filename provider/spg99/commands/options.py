"""Flags of a process from its Settings class: name, type, help, variable and default are written once, in config.py.

Not here: precedence and checking of values (config.load).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic.fields import FieldInfo

from spg99.commands.click_types import click_type, plain_type
from spg99.config import ENVIRONMENT_PREFIX, Settings, load
from spg99.errors import BadRequest

S = TypeVar("S", bound=Settings)
Body = Callable[..., Any]


def settings_command(kind: type[S], name: str) -> Callable[[Callable[[S], Any]], click.Command]:
    """A command whose only parameter is its settings: `@settings_command(GatewaySettings, "gateway")`."""

    def decorate(body: Callable[[S], Any]) -> click.Command:
        @with_settings(kind, name)
        def run(settings: S) -> Any:
            return body(settings)

        run.__doc__ = body.__doc__
        return click.command(name, help=body.__doc__)(run)

    return decorate


def with_settings(kind: type[S], name: str) -> Callable[[Body], Body]:
    """Adds the flags of `kind` to a function and hands it the loaded settings first, then its own parameters."""

    def decorate(body: Body) -> Body:
        def run(config_file: Path | None, **given: Any) -> Any:
            flags = {field: given.pop(field) for field in kind.model_fields}
            settings = load(kind, name, flags=flags, config_file=config_file)
            refuse_a_file(settings.data_dir)
            try:
                return body(settings, **given)
            except OSError as error:
                if (refusal := unusable(settings.data_dir, error)) is None:
                    raise
                raise refusal from error

        run.__doc__, run.__name__ = body.__doc__, body.__name__
        # Options that the function already has stay with it.
        run.__click_params__ = getattr(body, "__click_params__", [])  # type: ignore[attr-defined]
        decorated: Body = click.option(
            "--config",
            "config_file",
            type=click.Path(dir_okay=False, path_type=Path),
            help=f"TOML file with settings, in its table `{name}`.  [env: {ENVIRONMENT_PREFIX}CONFIG]",
        )(run)
        for field_name, field in reversed(kind.model_fields.items()):
            decorated = click.option(*_names(field_name, field), **_attributes(kind, field_name, field))(decorated)
        return decorated

    return decorate


def refuse_a_file(data_dir: Path) -> None:
    """Raises BadRequest when a file is where the data folder, or one above it, should be."""
    folder = data_dir.expanduser().absolute()
    for place in (folder, *folder.parents):
        if os.path.lexists(place) and not place.is_dir():
            raise BadRequest(f"{place} is a file where a folder is needed. Give another --data-dir.")


def unusable(data_dir: Path, error: OSError) -> BadRequest | None:
    """What to say when the data folder is another user's, or cannot be made at all where it should be. None for other errors."""
    if error.filename is None:
        return None
    place, folder = Path(os.fsdecode(error.filename)).absolute(), data_dir.expanduser().absolute()
    if place == folder or place in folder.parents:
        if not isinstance(error, PermissionError):
            why = error.strerror if place == folder else f"{place}: {error.strerror}"
            return BadRequest(f"The data folder {data_dir} cannot be made or used ({why}). Give another --data-dir.")
    elif folder not in place.parents or not isinstance(error, PermissionError):
        return None
    return BadRequest(
        f"The data folder {data_dir} cannot be used: this user may not change {place} ({error.strerror}). Run this as the "
        "folder's owner, or give another --data-dir."
    )


def _names(name: str, field: FieldInfo) -> tuple[str, str]:
    flag = name.replace("_", "-")
    return (f"--{flag}/--no-{flag}" if plain_type(field.annotation) is bool else f"--{flag}"), name


def _attributes(settings: type[Settings], name: str, field: FieldInfo) -> dict[str, Any]:
    kind = plain_type(field.annotation)
    facts = [f"env: {', '.join(settings.variables_of(name))}"]
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is not None:
        facts.append(f"default: {str(default).lower() if isinstance(default, bool) else default}")
    attributes: dict[str, Any] = {
        "default": None,
        "help": f"{' '.join((field.description or '').split())}  [{'; '.join(facts)}]",
    }
    if kind is not bool:
        attributes["type"] = click_type(kind)
    return attributes
