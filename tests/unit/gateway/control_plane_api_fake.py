"""A Control Plane of a few lines, in the same process, and a clock of our own. Not here: HTTP (tests/integration/gateway)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from spg99.errors import NotFound, Spg99Error
from spg99.protocol import Enrolment, Identity
from spg99.protocol.gateway import Checkout, ConnectRequest, Credentials, LeaseAnswer, LeaseReport


class Monotonic:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class ControlPlaneApiFake:
    """Answers from what it was given; `failing` is raised instead."""

    checkouts: dict[tuple[str, str], Checkout] = field(default_factory=dict)
    known: dict[str, Credentials] = field(default_factory=dict)
    failing: Spg99Error | None = None
    gate: asyncio.Event | None = None
    """While set and not open, answers wait."""
    asked: list[str] = field(default_factory=list)
    reports: list[LeaseReport] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    token: str | None = None

    async def _turn(self, what: str) -> None:
        self.asked.append(what)
        if self.gate is not None:
            await self.gate.wait()
        if self.failing is not None:
            raise self.failing

    async def connect(self, request: ConnectRequest) -> Checkout:
        await self._turn(f"connect {request.database}")
        if (found := self.checkouts.get((request.tenant_id, request.database))) is None:
            raise NotFound
        return found

    async def credentials(self, pg_user: str) -> Credentials:
        await self._turn(f"credentials {pg_user}")
        if (found := self.known.get(pg_user)) is None:
            raise NotFound
        return found

    async def report_leases(self, report: LeaseReport) -> LeaseAnswer:
        await self._turn("leases")
        self.reports.append(report)
        renewed = [use.db_id for use in report.leases if use.active_connections and use.db_id not in self.lost]
        return LeaseAnswer(renewed=renewed, lost=self.lost, renew_seconds=3)

    def authenticate(self, bearer_token: str) -> None:
        self.token = bearer_token

    async def enroll_gateway(self, enrolment: Enrolment) -> Identity:
        await self._turn(f"enroll {enrolment.name}")
        return Identity(identity_id="gw_1", bearer_token="bearer")


def checkout(db_id: str = "db_1", *, epoch: int = 1, compute: str = "cmp_1", woke: bool = False) -> Checkout:
    return Checkout(
        db_id=db_id,
        tenant_id="ten_1",
        database="app",
        pg_user="tnt_1",
        compute_id=compute,
        backend_addr="/run/x",
        backend_port=5432,
        writer_term=epoch,
        lease_control_epoch=epoch,
        lease_seconds=10,
        grace_seconds=60,
        woke=woke,
    )


def credentials(version: int = 1) -> Credentials:
    return Credentials(
        tenant_id="ten_1",
        tenant="acme",
        pg_user="tnt_1",
        scram_verifier="SCRAM-SHA-256$4096:c2FsdA==$x:y",
        credential_version=version,
        max_connections=5,
    )
