"""Who declares an object: a tool, the stack or state, the resource in it; and the one header that tells it. Pure.

Not here: what a tool's stack or state is called (bridges), what the Control Plane keeps of it (control_plane/records/declarations.py).
Nothing of it is a secret, and nothing secret may stand in it: it is shown to everybody who may see the object.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from spg99.errors import BadRequest

HEADER = "X-SPG99-Declared-By"
HEADER_LENGTH_MAX = 4096
TOOL_LENGTH_MAX, STATE_LENGTH_MAX, RESOURCE_LENGTH_MAX = 40, 255, 1024
"""In characters."""
STATE_VARIABLE = "SPG99_STATE_NAME"
"""What a stack or state is called where the tool's own name for it does not tell it from others."""


class Declarer(NamedTuple):
    """Who declares an object."""

    tool: str
    """`pulumi-dynamic`, `pulumi-native`, `terraform`, `opentofu`, or what another client calls itself."""
    state: str
    """The stack or state that holds the object: `pulumi:shop/dev`, `terraform:s3:bucket/key@default`."""
    resource: str = ""
    """The resource in it (Pulumi's URN); empty where the tool does not say."""

    def header(self) -> str:
        """The value of the header: ASCII, at most HEADER_LENGTH_MAX long.

        What is too long is cut: a state's name keeps its beginning and gets a digest, a resource is left out.
        """
        fields = {"tool": self.tool, "state": bounded(self.state)}
        whole = _encoded(fields | ({"resource": self.resource} if self.resource else {}))
        is_short = len(self.resource) <= RESOURCE_LENGTH_MAX and len(whole) <= HEADER_LENGTH_MAX
        return whole if is_short else _encoded(fields)


def bounded(state: str) -> str:
    """A state's name as it is kept: of at most STATE_LENGTH_MAX characters, none of them a control character."""
    plain = "".join(character if character.isprintable() else "?" for character in state)
    if plain == state and len(state) <= STATE_LENGTH_MAX:
        return state
    digest = hashlib.sha256(state.encode(errors="surrogatepass")).hexdigest()[:16]
    return f"{plain[: STATE_LENGTH_MAX - len(digest) - 1]}#{digest}"


def parsed(header: str) -> Declarer:
    """The declarer that a header names. Raises BadRequest with what is wrong with it."""
    try:
        pairs = parse_qsl(header, strict_parsing=True, errors="strict", max_num_fields=10)
    except (ValueError, UnicodeDecodeError):
        raise _wrong("must look like tool=...&state=...&resource=..., percent-encoded") from None
    fields = dict(pairs)
    if len(header) > HEADER_LENGTH_MAX or len(fields) != len(pairs):
        raise _wrong("is too long" if len(header) > HEADER_LENGTH_MAX else "names a field twice")
    for name, length_max in (("tool", TOOL_LENGTH_MAX), ("state", STATE_LENGTH_MAX), ("resource", RESOURCE_LENGTH_MAX)):
        text = fields.get(name, "")
        if len(text) > length_max or not text.isprintable() or (not text and name != "resource"):
            raise _wrong(f"needs a {name} of 1 to {length_max} printable characters")
    # Fields that a newer client adds are not ours to refuse.
    return Declarer(fields["tool"], fields["state"], fields.get("resource", ""))


def _encoded(fields: dict[str, str]) -> str:
    return urlencode(fields, quote_via=quote, safe=":/@", errors="replace")


def _wrong(reason: str) -> BadRequest:
    return BadRequest(f"The header {HEADER} {reason}.")
