"""What a program may ask while it runs: `getTenant`, `getTenants`, `parseDsn`. Not here: what is read (bridges/shared/operations.py)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, NamedTuple

from spg99.bridges.pulumi.native.properties import Properties, guarded
from spg99.bridges.pulumi.native.wire import as_secret_as, has_secret, revealed, secret
from spg99.bridges.pulumi.shared.naming import from_wire, to_wire, wire_path
from spg99.bridges.shared.inputs import check_fields
from spg99.bridges.shared.operations import Operations
from spg99.bridges.shared.unknown import UNKNOWN, has_unknown
from spg99.emit.names import camel
from spg99.emit.pulumi_schema import filters
from spg99.errors import BadRequest, NotFound
from spg99.shapes import Field, Function, FunctionFault, Noun, Package

Connect = Callable[[], Awaitable[Operations]]


class Answer(NamedTuple):
    """The answer to Invoke."""

    outputs: dict[str, Any]
    failures: list[tuple[str, str]]


async def invoke(package: Package, token: str, args: Properties, connect: Connect) -> Answer:
    """Calls the function of this token. Raises BadRequest for one that there is not, NotFound for a missing object."""
    name = token.rpartition(":")[2].rpartition("/")[2]
    for noun in (*package.nouns, *package.reads):
        if name == camel(f"get_{noun.noun}"):
            return await _get_one(noun, args, connect)
        if noun.plural and name == camel(f"get_{noun.plural}"):
            return await _get_all(noun, args, connect)
    for function in package.functions:
        if name == camel(function.name):
            return _call(function, args)
    raise BadRequest(f"This version of {package.name} has no function '{token}'. It has: {', '.join(names(package))}.")


def names(package: Package) -> list[str]:
    """The names of all functions."""
    found = []
    for noun in (*package.nouns, *package.reads):
        found.append(camel(f"get_{noun.noun}"))
        found += [camel(f"get_{noun.plural}")] if noun.plural else []
    return found + [camel(function.name) for function in package.functions]


async def _get_one(noun: Noun, args: Properties, connect: Connect) -> Answer:
    keys = tuple(_key(noun, name) for name in noun.id_fields())
    given, failures = _checked(keys, args, camel(f"get_{noun.noun}"))
    if failures:
        return Answer({}, failures)
    if has_unknown(given):
        return Answer({camel(field.name): UNKNOWN for field in noun.outputs}, [])
    human_id = noun.id_of(given)
    found = await (await connect()).read_if_there(noun, human_id)
    if found is None:
        words = noun.noun.replace("_", " ")
        raise NotFound(f"There is no {words} '{human_id}', or this API key may not see it.")
    return Answer(guarded(noun.outputs, to_wire(noun.outputs, found)), [])


async def _get_all(noun: Noun, args: Properties, connect: Connect) -> Answer:
    given, failures = _checked(filters(noun), args, camel(f"get_{noun.plural}"))
    if failures:
        return Answer({}, failures)
    name = camel(noun.plural)
    if has_unknown(given):
        return Answer({name: UNKNOWN}, [])
    path = {key: given.pop(key) for key in noun.path_fields()}
    found = await (await connect()).find_all(noun, path, given)
    return Answer({name: [guarded(noun.outputs, to_wire(noun.outputs, item)) for item in found]}, [])


def _key(noun: Noun, name: str) -> Field:
    known = noun.input_named(name) or noun.output_named(name)
    assert known is not None, f"the id of a {noun.noun} names {name}"
    return known._replace(required=True, default=None)


def _checked(fields: tuple[Field, ...], args: Properties, what: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    plain = {key: revealed(value) for key, value in args.items() if not key.startswith("__")}
    checked = check_fields(fields, from_wire(fields, plain), what=what, spelling=camel)
    return checked.inputs, [(wire_path(failure.path, fields), failure.reason) for failure in checked.failures]


def _call(function: Function, args: Properties) -> Answer:
    """A pure function. What it makes of a secret is a secret."""
    fields = tuple(
        Field(item.name, item.type, item.description, required=not item.nullable, nullable=item.nullable)
        for item in function.parameters
    )
    given, failures = _checked(fields, args, camel(function.name))
    if failures:
        return Answer({}, failures)
    returned = function.returns.fields if function.returns.kind == "object" else (Field("result", function.returns),)
    if has_unknown(given):
        return Answer({camel(field.name): UNKNOWN for field in returned}, [])
    module, _, name = function.call.partition(":")
    try:
        result = getattr(import_module(module), name)(*(given.get(field.name) for field in fields))
    except FunctionFault as fault:
        path = camel(fields[fault.argument].name) if fault.argument < len(fields) else ""
        return Answer({}, [(path, fault.reason)])
    outputs = guarded(returned, to_wire(returned, result if function.returns.kind == "object" else {"result": result}))
    if function.returns_secret or has_secret(dict(args)):
        outputs = {key: secret(value) for key, value in outputs.items()}
    return Answer({key: as_secret_as(value, None) for key, value in outputs.items()}, [])
