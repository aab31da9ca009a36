"""InternalClient: what agents and Gateways ask the Control Plane. Here: which call is which message. Not here: their shapes (protocol/)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from spg99 import log
from spg99.client.events import follow
from spg99.client.transport import Transport
from spg99.client.typed import understood
from spg99.protocol import INTERNAL_PREFIX, Enrolment, Identity, Message
from spg99.protocol.certificates import CertificateIssued, CertificateRequest
from spg99.protocol.gateway import (
    CHANGES_SILENCE_SECONDS,
    CancelForward,
    Change,
    Checkout,
    ConnectRequest,
    Credentials,
    CredentialsQuery,
    LeaseAnswer,
    LeaseReport,
    SlowedLogins,
)
from spg99.protocol.node import Archiving, Heartbeat, HeartbeatAnswer, LeasedTasks, LeaseTasks, TaskResult
from spg99.protocol.pageserver import PageserverAnswer, PageserverHeartbeat
from spg99.protocol.safekeeper import SafekeeperAnswer, SafekeeperHeartbeat

if TYPE_CHECKING:
    import httpx

M = TypeVar("M", bound=Message)


class InternalClient:
    """What our own processes call. `cp_url` is the Control Plane's URL with `/v2`; `bearer_token` is the identity's;
    `ca_file` as for Client.

    Retries are few: an agent and a Gateway have a loop of their own that decides what to do when nobody answers. A call is
    sent again after a lost answer only where its text says so; one that never left, always.
    """

    def __init__(
        self,
        cp_url: str,
        bearer_token: str | None,
        *,
        timeout_seconds: float = 15,
        max_attempts: int = 3,
        ca_file: str | Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        base = cp_url.rstrip("/").removesuffix("/v2").rstrip("/")
        self._transport = Transport(
            base + INTERNAL_PREFIX,
            bearer_token,
            timeout_seconds=timeout_seconds,
            attempts_max=max_attempts,
            ca_file=ca_file,
            transport=transport,
            # One id from the client's connection to the agent's work, so that the logs of all three can be joined.
            request_id_of=log.bound_request,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._transport.aclose()

    def authenticate(self, bearer_token: str) -> None:
        """Speaks with this identity from now on (after an enrolment)."""
        self._transport.authenticate(bearer_token)

    async def enroll_node(self, enrolment: Enrolment) -> Identity:
        """Trades a node's single-use token for an identity."""
        return await self._post("/nodes/enroll", enrolment, Identity)

    async def node_certificate(self, request: CertificateRequest) -> CertificateIssued:
        """A certificate of this node. Asked twice it is issued twice, which does no harm."""
        return await self._post("/nodes/certificate", request, CertificateIssued, is_repeatable=True)

    async def gateway_certificate(self, request: CertificateRequest) -> CertificateIssued:
        """The same of a gateway."""
        return await self._post("/gateways/certificate", request, CertificateIssued, is_repeatable=True)

    async def safekeeper_certificate(self, request: CertificateRequest) -> CertificateIssued:
        """The same of a safekeeper."""
        return await self._post("/safekeepers/certificate", request, CertificateIssued, is_repeatable=True)

    async def pageserver_certificate(self, request: CertificateRequest) -> CertificateIssued:
        """The same of a pageserver."""
        return await self._post("/pageservers/certificate", request, CertificateIssued, is_repeatable=True)

    async def enroll_gateway(self, enrolment: Enrolment) -> Identity:
        """Trades a gateway's single-use token for an identity."""
        return await self._post("/gateways/enroll", enrolment, Identity)

    async def enroll_safekeeper(self, enrolment: Enrolment) -> Identity:
        """Trades a safekeeper's single-use token for an identity."""
        return await self._post("/safekeepers/enroll", enrolment, Identity)

    async def safekeeper_heartbeat(self, beat: SafekeeperHeartbeat) -> SafekeeperAnswer:
        """Tells where a safekeeper is and what it keeps; answers what it need not keep."""
        return await self._post("/safekeepers/heartbeat", beat, SafekeeperAnswer)

    async def enroll_pageserver(self, enrolment: Enrolment) -> Identity:
        """Trades a pageserver's single-use token for an identity."""
        return await self._post("/pageservers/enroll", enrolment, Identity)

    async def pageserver_heartbeat(self, beat: PageserverHeartbeat) -> PageserverAnswer:
        """Tells what the store has of timelines; answers which to care for."""
        return await self._post("/pageservers/heartbeat", beat, PageserverAnswer)

    async def lease_tasks(self, ask: LeaseTasks) -> LeasedTasks:
        """Tasks for this node; takes up to `ask.wait_seconds`. A lost answer is harmless: leased tasks come again."""
        return await self._post(
            "/nodes/tasks/lease", ask, LeasedTasks, wait_seconds=ask.wait_seconds, is_repeatable=True
        )

    async def finish_task(self, task_id: int, result: TaskResult) -> None:
        """Tells what became of a task. The same result may arrive twice."""
        await self._send(f"/nodes/tasks/{task_id}/result", result, is_repeatable=True)

    async def archiving(self) -> Archiving:
        """Whether there is a pageserver by now."""
        return _understood(Archiving, await self._transport.send("GET", "/nodes/archiving", is_repeatable=True))

    async def heartbeat(self, beat: Heartbeat) -> HeartbeatAnswer:
        """Tells what runs here; answers what must not."""
        return await self._post("/nodes/heartbeat", beat, HeartbeatAnswer)

    async def credentials(self, pg_user: str) -> Credentials:
        """What is needed to check a password. Only read, so it may be asked twice. Raises NotFound for an unknown user."""
        query = CredentialsQuery(pg_user=pg_user)
        return await self._post("/gateways/credentials", query, Credentials, is_repeatable=True)

    async def report_slowed_logins(self, report: SlowedLogins) -> None:
        """Has the owners of these users hear of it. Not repeated: a lost word is said again when it goes on."""
        await self._send("/gateways/slowed-logins", report, is_repeatable=False)

    async def connect(self, request: ConnectRequest) -> Checkout:
        """Where the writer of a database is; wakes it when it sleeps. Raises NotFound or CannotWake."""
        return await self._post("/gateways/connect", request, Checkout, wait_seconds=request.wait_seconds)

    async def report_leases(self, report: LeaseReport) -> LeaseAnswer:
        """Renews all leases in one call. Not repeated here when the answer is lost: the gateway's next report says what is
        so by then, and tells the same bytes again under their number, so that they count once."""
        return await self._post("/gateways/leases", report, LeaseAnswer)

    async def forward_cancel(self, forward: CancelForward) -> None:
        """Has every Gateway look for the session of a cancel key. Twice is once: the query is cancelled or over."""
        await self._send("/gateways/cancel", forward, is_repeatable=True)

    async def changes(
        self, after: int | None, *, on_open: Callable[[], None] | None = None
    ) -> AsyncIterator[tuple[int, Change]]:
        """Changes after a position (None = from now on), without end; a broken stream is resumed (`max_attempts`).

        `on_open` is called each time a stream stands: from then on no change is missed. Raises Conflict when the position is too old (drop all that is cached, start with None), Unreachable when the
        Control Plane stays away.
        """
        start = None if after is None else str(after)
        path = "/gateways/changes"
        async for event in follow(
            self._transport,
            path,
            params={},
            last_event_id=start,
            resume_param="after",
            silence_seconds=CHANGES_SILENCE_SECONDS,
        ):
            if event is not None:
                yield int(event.id), _understood(Change, event.data)
            elif on_open is not None:
                on_open()

    async def _post(
        self, path: str, message: Message, kind: type[M], *, wait_seconds: float = 0.0, is_repeatable: bool = False
    ) -> M:
        return _understood(
            kind, await self._send(path, message, wait_seconds=wait_seconds, is_repeatable=is_repeatable)
        )

    async def _send(self, path: str, message: Message, *, wait_seconds: float = 0.0, is_repeatable: bool) -> Any:
        body = message.model_dump(mode="json")
        return await self._transport.send(
            "POST", path, json=body, wait_seconds=wait_seconds, is_repeatable=is_repeatable
        )


def _understood(kind: type[M], value: Any) -> M:
    return understood(kind, kind.__name__, value)
