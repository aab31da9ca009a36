"""Who this gateway is to the Control Plane. Here: enrolling once, keeping the identity in a file. Not here: using it."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from pydantic import ValidationError

from spg99 import log
from spg99.errors import BadRequest, Spg99Error, Unauthorized
from spg99.gateway.checkouts import is_outage
from spg99.protocol import Enrolment, Identity
from spg99.protocol.gateway import LeaseAnswer, LeaseReport

RETRY_SECONDS: Final = 0.5

_log = log.get("gateway")


class EnrolmentApi(Protocol):
    """The part of InternalClient that is used here."""

    def authenticate(self, bearer_token: str) -> None:
        """Speaks with this identity from now on."""
        ...

    async def enroll_gateway(self, enrolment: Enrolment) -> Identity:
        """Trades a single-use token for an identity."""
        ...

    async def report_leases(self, report: LeaseReport) -> LeaseAnswer:
        """Called with nothing to report, it shows whether the identity is good."""
        ...


async def ensure(
    api: EnrolmentApi, path: Path, *, name: str, enrolment_token: str | None, waiting: Callable[[], None]
) -> Identity:
    """The identity in `path`, or a new one for the token. `api` speaks with it afterwards.

    Waits for a Control Plane that does not answer (`waiting` is called once) when there is no identity yet; an identity
    that is refused is traded for a new one when there is a token, else Unauthorized says what to do.
    """
    identity = read(path)
    if identity is not None:
        api.authenticate(identity.bearer_token)
        try:
            await api.report_leases(LeaseReport(leases=[]))
        except Unauthorized as error:
            if enrolment_token is None:
                raise Unauthorized(
                    f"The Control Plane refuses the identity in {path}. Start the gateway once with a fresh "
                    "--enrolment-token, or with the data folder that belongs to this Control Plane."
                ) from error
            _log.warning("the identity is refused, enrolling anew", path=str(path))
        except Spg99Error as error:
            if not is_outage(error):
                raise
            _log.warning("the Control Plane does not answer yet", error=str(error))
            return identity
        else:
            return identity
    if enrolment_token is None:
        raise BadRequest(
            f"This gateway has no identity yet ({path} does not exist). Start it once with --enrolment-token "
            "(or SPG99_ENROLMENT_TOKEN); the Control Plane gives out such tokens."
        )
    enrolment = Enrolment(enrolment_token=enrolment_token, name=name, hostname=socket.gethostname())
    identity = await _enroll(api, enrolment, waiting)
    write(path, identity)
    api.authenticate(identity.bearer_token)
    return identity


async def _enroll(api: EnrolmentApi, enrolment: Enrolment, waiting: Callable[[], None]) -> Identity:
    waited = False
    while True:
        try:
            return await api.enroll_gateway(enrolment)
        except Spg99Error as error:
            if not is_outage(error):
                raise
            if not waited:
                waited = True
                waiting()
            await asyncio.sleep(RETRY_SECONDS)


def read(path: Path) -> Identity | None:
    """The identity kept in `path`."""
    try:
        return Identity.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise BadRequest(f"The identity file {path} is damaged. Remove it and enrol this gateway again.") from None


def write(path: Path, identity: Identity) -> None:
    """Keeps the identity where only this user can read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600 from the first moment
    with os.fdopen(handle, "w") as file:
        file.write(identity.model_dump_json())
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
