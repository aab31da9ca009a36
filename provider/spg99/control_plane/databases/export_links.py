"""Links by which an export is downloaded without an API key, and the parts of it that a request asks for (pure). Here: signing, checking, ranges.
Not here: HTTP (export_routes.py).

A link names one export of one tenant and its own end; the signature (HMAC-SHA256 with a key derived from the installation's) binds all three. Whoever has it can
read that export until then, as with a link of S3's. Deleting the export ends all of its links.
"""

from __future__ import annotations

import hmac
import re
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from spg99.control_plane.records.secret_box import SecretBox
from spg99.errors import Forbidden

LINK_SECONDS: Final = 3600
LINK_SECONDS_MAX: Final = 604_800
"""A week, as S3's own."""
NOT_VALID: Final = "This link is not valid, or not any more. Ask for another one (POST /v2/exports/{export_id}/link)."
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)


class Part(NamedTuple):
    """Some bytes of an export: from the first to the last of them."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """How many."""
        return self.last - self.first + 1


class NotSatisfiable(Exception):
    """Nothing of what is asked for is there: 416."""


def path_of(box: SecretBox, tenant_id: str, export_id: str, until: datetime) -> str:
    """The link, from the host on, that is valid until then (whole seconds)."""
    expires = int(until.timestamp())
    signature = _signature(box, tenant_id, export_id, expires)
    return f"/v2/exports/{export_id}/content?expires={expires}&signature={signature}"


def check(box: SecretBox, tenant_id: str | None, export_id: str, expires: int, signature: str, now: datetime) -> None:
    """Raises Forbidden, with one sentence for all that may be wrong, unless the link is ours and its time is not over. `tenant_id` None: nobody
    knows such an export."""
    wanted = _signature(box, tenant_id or "", export_id, expires)
    is_ours = hmac.compare_digest(wanted.encode(), signature.encode())
    if not is_ours or tenant_id is None or expires <= now.timestamp():
        raise Forbidden(NOT_VALID)


def until(now: datetime, seconds: int, expires_at: datetime) -> datetime:
    """When a link ends that was asked for so many seconds: never after its export."""
    return min(now + timedelta(seconds=seconds), expires_at).astimezone(UTC).replace(microsecond=0)


def part_of(header: str | None, size_bytes: int) -> Part | None:
    """What a `Range` header asks for (RFC 9110, 14.2); None: all of it, also for a header that is not understood or names several ranges, which a
    server may answer so. Raises NotSatisfiable."""
    found = _RANGE.fullmatch(header.strip()) if header is not None else None
    if found is None or found[1] == found[2] == "":
        return None
    if found[1] == "":
        first, last = max(size_bytes - int(found[2]), 0), size_bytes - 1
    else:
        first, last = int(found[1]), min(int(found[2] or size_bytes), size_bytes - 1)
        if found[2] and int(found[2]) < first:
            return None
    if first >= size_bytes or last < first:
        raise NotSatisfiable
    return Part(first, last)


def _signature(box: SecretBox, tenant_id: str, export_id: str, expires: int) -> str:
    return box.signature(f"export\0{tenant_id}\0{export_id}\0{expires}")
