"""From which resources of other providers a state can be moved (`moved { from = neon_database.app ... }`). A table and its reading. Pure.

A moved state holds only what names the object; the read that follows finds the object of that name here and fills in the
rest, or finds none and plans it. Data is not moved by this: dump and restore it, or replicate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from spg99.shapes import Noun

MOVES: dict[str, dict[str, dict[str, tuple[str, ...]]]] = {
    "neon_project": {"tenant": {"name": ("name",)}},
    "neon_role": {"tenant": {"name": ("name",)}, "tenant_credentials": {"tenant": ("name",)}},
    "neon_database": {"database": {"tenant": ("owner_name", "owner"), "name": ("name",)}},
    "postgresql_role": {"tenant": {"name": ("name",)}, "tenant_credentials": {"tenant": ("name",)}},
    "postgresql_database": {"database": {"tenant": ("owner",), "name": ("name",)}},
    "supabase_project": {"tenant": {"name": ("name",)}},
    "cockroach_database": {"database": {"name": ("name",), "tenant": ("owner",)}},
    "cockroach_sql_user": {"tenant": {"name": ("name",)}},
}
"""Source type -> our noun -> our field -> the source's attributes that may hold it, first found wins."""


class Immovable(ValueError):
    """Why a state cannot be moved, and what to do."""


def moved(noun: Noun, provider_address: str, type_name: str, source: Mapping[str, Any]) -> dict[str, str]:
    """The fields of the human id from another resource's state. Raises Immovable."""
    table = MOVES.get(type_name, {})
    if noun.noun not in table:
        from_here = sorted(kind for kind, targets in MOVES.items() if noun.noun in targets)
        known = f"It can be moved from {', '.join(from_here)}." if from_here else "It can be moved from no other type."
        raise Immovable(
            f"There is no way from {type_name} ({provider_address or 'unknown provider'}) to this resource. {known} Else import: "
            f'`import {{ to = ..., id = "{"/".join(f"<{name}>" for name in noun.id_fields())}" }}`.'
        )
    found = {}
    inputs = noun.input_fields()
    for field, names in table[noun.noun].items():
        value = next((source[name] for name in names if isinstance(source.get(name), str) and source[name]), None)
        if value is None:
            raise Immovable(f"The state of {type_name} has no {' or '.join(names)}, which would become `{field}`.")
        pattern = inputs[field].type.pattern if field in inputs else None
        if pattern is not None and re.search(pattern, value) is None:
            raise Immovable(
                f"'{value}' of {type_name} cannot be a `{field}` here: it must match the pattern {pattern}. Declare it under "
                "another name and import or create it."
            )
        found[field] = value
    return found
