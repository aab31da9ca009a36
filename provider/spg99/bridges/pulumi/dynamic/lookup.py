"""Reads of a program: objects that others manage, looked up while the program runs (a dynamic provider has no functions)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.runtime.config import get_config

from spg99.errors import NotFound, Spg99Error
from spg99.prepared import PACKAGE
from spg99.shapes import Noun, Package


def one(
    noun: str,
    values: Mapping[str, str],
    *,
    url: str | None,
    api_key: str | None,
    ca_file: str | None,
    package: Package = PACKAGE,
) -> dict[str, Any]:
    """The fields of one object, secrets as secret outputs. Raises pulumi.RunError with a sentence."""
    from spg99.bridges.pulumi.dynamic import connection

    kind = _noun(package, noun)
    try:
        work = connection.operations(_settings(url, api_key, ca_file)).read_if_there(kind, kind.id_of(values))
        found = connection.run(work)
        if found is None:
            raise NotFound(f"There is no {kind.noun} '{kind.id_of(values)}', or this API key may not see it.")
    except Spg99Error as error:
        raise pulumi.RunError(str(error)) from None
    return _guarded(kind, found)


def many(
    noun: str,
    values: Mapping[str, str],
    filters: Mapping[str, str | None],
    *,
    url: str | None,
    api_key: str | None,
    ca_file: str | None,
    package: Package = PACKAGE,
) -> list[dict[str, Any]]:
    """The fields of all objects of a collection, ordered by name, secrets as secret outputs."""
    from spg99.bridges.pulumi.dynamic import connection

    kind = _noun(package, noun)
    try:
        work = connection.operations(_settings(url, api_key, ca_file)).find_all(kind, dict(values), filters)
        found = connection.run(work)
    except Spg99Error as error:
        raise pulumi.RunError(str(error)) from None
    return [_guarded(kind, values) for values in found]


def _settings(url: str | None, api_key: str | None, ca_file: str | None) -> Any:
    from spg99.bridges.pulumi.dynamic import connection

    # Not pulumi.Config: it warns about a secret that is read to be used, and this one goes into a header.
    known = {key: get_config(f"spg99:{key}") for key in ("url", "apiKey", "caFile")}
    given = {"url": url, "apiKey": api_key, "caFile": ca_file}
    return connection.settings_from({key: given[key] or known[key] for key in given})


def _noun(package: Package, name: str) -> Noun:
    return next(noun for noun in (*package.nouns, *package.reads) if noun.noun == name)


def _guarded(kind: Noun, values: dict[str, Any]) -> dict[str, Any]:
    secrets = kind.secrets()
    return {name: pulumi.Output.secret(value) if name in secrets else value for name, value in values.items()}
