"""Who a process of ours is to the Control Plane: enrolled once with a single-use token, kept in a file only its user can read.

Here: getting in and being known again. Not here: what is said with the identity (client/), giving out tokens.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spg99 import log
from spg99.atomic_write import make_folders, write_file
from spg99.errors import BadRequest, Internal, Spg99Error, TooManyRequests, Unauthorized, Unavailable
from spg99.processes.health import pause_seconds
from spg99.protocol import Enrolment, Identity

_log = log.get("identity")


@dataclass(frozen=True)
class Applicant:
    """A process that wants to be known."""

    kind: str
    """What it is, in a sentence: `node`, `gateway`."""
    name: str
    file: Path
    """Where its identity is kept."""
    enrolment_token: str | None = field(repr=False)
    enrol: Callable[[Enrolment], Awaitable[Identity]]
    """Trades the token for an identity."""
    authenticate: Callable[[str], None]
    """From now on its client speaks with this bearer token."""
    greet: Callable[[], Awaitable[Any]]
    """Any call that tells whether the identity is good."""

    def how_to_enrol(self) -> str:
        """For whoever runs it."""
        return (
            f"Make a fresh enrolment token for a {self.kind} at the Control Plane (single use, 15 minutes), and start it "
            "once with it in SPG99_ENROLMENT_TOKEN or --enrolment-token."
        )


async def introduce(applicant: Applicant, *, must_be_heard: bool) -> Identity:
    """The identity in the file, or a new one for the token; its client speaks with it afterwards.

    An identity that is refused (the catalogue is another one) is traded for a new one when there is a token. Waits for a
    Control Plane that does not answer, unless there is an identity and `must_be_heard` is False: then it may go on with it.
    Raises BadRequest when there is no token and no identity, or a damaged one; Unauthorized when it is refused.
    """
    identity = read(applicant)
    former_id: str | None = None
    enrolled_now = False
    failures = 0
    while True:
        try:
            if identity is None:
                identity, enrolled_now = await _enrol(applicant, former_id), True
            applicant.authenticate(identity.bearer_token)
            if must_be_heard or not enrolled_now:
                await applicant.greet()
            return identity
        except Unauthorized as error:
            if enrolled_now or identity is None:
                raise
            former_id = identity.identity_id
            if applicant.enrolment_token is None:
                raise Unauthorized(
                    f"The Control Plane refuses the identity in {applicant.file}: it does not know this {applicant.kind} "
                    f"('{applicant.name}'). {applicant.how_to_enrol()}"
                ) from error
            _log.warning("the identity is refused, enrolling anew", file=str(applicant.file))
            identity = None
        except (Unavailable, TooManyRequests, Internal) as error:
            if identity is not None and not must_be_heard:
                _log.warning("the Control Plane does not answer yet", reason=error.message)
                return identity
            failures += 1
            if failures == 1:
                _log.warning("waiting for the Control Plane", reason=error.message)
            await asyncio.sleep(_pause(failures, error))


def _pause(failures: int, error: Spg99Error) -> float:
    asked = float(error.retry_after_seconds or 0)
    return pause_seconds(failures, chance=random.random(), asked_seconds=asked)  # noqa: S311  spreads load, guards nothing


async def _enrol(applicant: Applicant, former_id: str | None) -> Identity:
    if applicant.enrolment_token is None:
        raise BadRequest(
            f"This {applicant.kind} has no identity yet ({applicant.file} does not exist). {applicant.how_to_enrol()}"
        )
    enrolment = Enrolment(
        enrolment_token=applicant.enrolment_token,
        name=applicant.name,
        hostname=socket.gethostname(),
        former_id=former_id,
    )
    try:
        identity = await applicant.enrol(enrolment)
    except Unauthorized as error:
        raise Unauthorized(f"The enrolment token is unknown, used or expired. {applicant.how_to_enrol()}") from error
    write(applicant.file, identity)
    _log.info("enrolled", identity_id=identity.identity_id)
    return identity


def read(applicant: Applicant) -> Identity | None:
    """The identity of an earlier enrolment; None before the first, and for a damaged file when there is a token for another
    enrolment. Raises BadRequest for a damaged file without one."""
    try:
        return Identity.model_validate_json(applicant.file.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        if applicant.enrolment_token is not None:
            _log.warning("the identity file is damaged, enrolling anew", file=str(applicant.file))
            return None
        raise BadRequest(
            f"The identity file {applicant.file} is damaged. Remove it. {applicant.how_to_enrol()}"
        ) from None


def write(file: Path, identity: Identity) -> None:
    """Keeps an identity: whole or not at all, readable by this user only from its first moment."""
    make_folders(file.parent)
    write_file(file, identity.model_dump_json(), mode=0o600)
