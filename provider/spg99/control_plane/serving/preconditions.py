"""ETag and If-Match: change it only if it is still what you read. Pure."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from spg99.errors import BadRequest, NotFound, PreconditionFailed

Uid = Annotated[
    str | None,
    Query(
        max_length=100, description="Only if the name still means the object with this id; else 404. Safe to repeat."
    ),
]

IF_MATCH_LENGTH_MAX = 200


def etag(uid: str, version: int) -> str:
    """The ETag of an object: another version or another object of the same name has another one."""
    return f'"{uid}.{version}"'


def check_uid(uid: str | None, current: str) -> None:
    """Raises NotFound when the caller means another object than the one that has the name now."""
    if uid is not None and uid != current:
        raise NotFound(f"The object {uid[:100]} is gone; another one has its name now.")


def check(if_match: str | None, current: str) -> None:
    """Raises PreconditionFailed unless the header is absent, `*`, or names the current ETag (strong comparison)."""
    if if_match is None or if_match.strip() == "*":
        return
    if not 1 <= len(if_match) <= IF_MATCH_LENGTH_MAX:
        raise BadRequest(f"The header If-Match takes 1 to {IF_MATCH_LENGTH_MAX} characters.")
    if current not in [candidate.strip() for candidate in if_match.split(",")]:
        raise PreconditionFailed(details={"etag": current})
