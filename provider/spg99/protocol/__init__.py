"""What our own processes say to each other over HTTP, as values. Here: shapes. Not here: sending or answering them.

`tasks.py`: every order to an agent, declared once. `node.py`: agent and Control Plane. `gateway.py`: Gateway and Control
Plane. All paths stand under `INTERNAL_PREFIX`, are not part of the public API, and are authenticated with the identity a
process got when it enrolled.
"""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

INTERNAL_PREFIX: Final = "/internal/v1"
"""Prefix of every path in this folder."""


class Message(BaseModel):
    """Base of all messages: unknown fields are ignored so that old and new processes understand each other."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class Enrolment(Message):
    """`POST /nodes/enroll` and `POST /gateways/enroll`: trades a single-use token (15 min) for an identity."""

    enrolment_token: str = Field(repr=False)
    name: str
    """Name of the node or gateway, unique; enrolling a known name again with a fresh token replaces its identity."""
    hostname: str = ""
    region: str = "local"
    former_id: str | None = None
    """Who it was to a Control Plane that does not know it any more. It has the disk on which that id stands."""


class Identity(Message):
    """Answer to an enrolment; kept by the process in a file only it can read."""

    identity_id: str
    """`node_...` or `gw_...`."""
    bearer_token: str = Field(repr=False)
    """Sent as `Authorization: Bearer`; the Control Plane keeps a SHA-256 hash of it."""
