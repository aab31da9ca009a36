"""Pages of lists: limit, offset, and a cursor that says where the next page begins. Pure, except for the parameters' types.

A cursor is opaque, holds the last name and id of the page before, and is bound to its list: path, filters and account.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query

from spg99.control_plane.serving.answers import Answer
from spg99.control_plane.serving.call import Call
from spg99.control_plane.store import Window
from spg99.errors import BadRequest

LIMIT_DEFAULT, LIMIT_MAX = 50, 500
OFFSET_MAX = 1_000_000
Row = TypeVar("Row")


NamePrefix = Annotated[
    str | None, Query(pattern=r"^[A-Za-z0-9_$]{1,63}$", description="Only names that begin with this.")
]


@dataclass(frozen=True)
class Asked:
    """Which page is asked for."""

    limit: int
    offset: int
    cursor: str | None

    def after(self, list_id: str) -> tuple[str, str] | None:
        """(name, id) after which the page begins. Raises BadRequest for a cursor of another list."""
        return None if self.cursor is None else decode(self.cursor, list_id)

    def window(self, list_id: str, name_prefix: str | None = None) -> Window:
        """What the query is asked for: one row more than is shown, which only tells that there is more."""
        return Window(self.limit + 1, self.offset, self.after(list_id), name_prefix)


def asked(
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Objects on a page.")] = LIMIT_DEFAULT,
    offset: Annotated[int, Query(ge=0, le=OFFSET_MAX, description="Objects to skip. Prefer `cursor`.")] = 0,
    cursor: Annotated[
        str | None, Query(max_length=1000, description="`next_cursor` of the page before, of the same list.")
    ] = None,
) -> Asked:
    """The parameters of every list."""
    if cursor is not None and offset:
        raise BadRequest("Give a cursor or an offset, not both.", fields={"offset": "not together with cursor"})
    return Asked(limit, offset, cursor)


Page = Annotated[Asked, Depends(asked)]


def list_id(call: Call, **filters: str | None) -> str:
    """What a cursor is bound to."""
    parts = [call.request.url.path, call.org_id, call.only_tenant_id, sorted(filters.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def encode(list_id: str, name: str, uid: str) -> str:
    """A cursor that goes on after this object."""
    return base64.urlsafe_b64encode(json.dumps([list_id, name, uid]).encode()).decode().rstrip("=")


def decode(cursor: str, list_id: str) -> tuple[str, str]:
    """(name, id) from a cursor. Raises BadRequest when it is none of ours or belongs to another list."""
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        bound_to, name, uid = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError, UnicodeEncodeError):
        raise BadRequest("The cursor is not valid.", fields={"cursor": "is not a cursor of this API"}) from None
    if bound_to != list_id or not isinstance(name, str) or not isinstance(uid, str) or "\x00" in name + uid:
        raise BadRequest(
            "The cursor is not valid.", fields={"cursor": "belongs to another list or to other filters; begin anew"}
        )
    return name, uid


def answer(
    rows: Sequence[Row],
    asked: Asked,
    list_id: str,
    key: Callable[[Row], tuple[str, str]],
    item: Callable[[Row], Mapping[str, Any]],
) -> Answer:
    """A page from `limit + 1` rows: the extra one only tells that there is more."""
    shown = rows[: asked.limit]
    more = len(rows) > asked.limit
    return Answer(
        200,
        {
            "items": [item(row) for row in shown],
            "next_cursor": encode(list_id, *key(shown[-1])) if more else None,
        },
    )
