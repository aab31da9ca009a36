"""Server-Sent Events of the Control Plane: one stream that goes on where it broke off. Not here: what an event means."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from spg99.client import answers, loopless, retry
from spg99.client.exchanges import NoAnswer
from spg99.client.server_sent import Message, MessageReader
from spg99.client.transport import Transport, outcome_of
from spg99.errors import Internal, Spg99Error
from spg99.ids import new_id

SILENCE_SECONDS = 60.0
"""A stream without even a keep-alive comment for so long is taken for dead and opened again."""


@dataclass(frozen=True)
class Event:
    """One line of the outbox, as `GET /v2/events` tells it."""

    id: str
    """Position in the stream; give it as `last_event_id` to go on after it."""
    type: str
    """`database.ready`, `tenant.created` ..."""
    data: dict[str, Any] = field(default_factory=dict)
    """The envelope: `event_id`, `subject`, `occurred_at`, `payload` ..."""

    @property
    def subject(self) -> str | None:
        """Id of the object it is about: `db_...`, `ten_...`."""
        found = self.data.get("subject")
        return found if isinstance(found, str) else None


async def follow(
    transport: Transport,
    path: str,
    *,
    params: dict[str, Any],
    last_event_id: str | None,
    resume_param: str | None = None,
    silence_seconds: float = SILENCE_SECONDS,
) -> AsyncIterator[Event | None]:
    """Events from `path`, without end; None each time a connection stands and its past has been asked for.

    A broken connection is opened again after the last event seen (header Last-Event-ID, and `resume_param` where the
    path takes it as a parameter), and so is one that was silent for `silence_seconds`. Raises the Control Plane's error when it refuses, Unreachable when it stays away.
    """
    await loopless.into_loop()
    failures = 0
    while True:
        request_id = new_id("req")
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store", "X-Request-Id": request_id}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        asked = params | ({resume_param: last_event_id} if resume_param else {})
        try:
            async with transport.stream(path, params=asked, headers=headers, silence_seconds=silence_seconds) as (
                head,
                response,
            ):
                if response is None:
                    answers.value_of(head, transport.address, request_id=request_id)
                    raise Internal("The Control Plane did not answer with a stream of events.", request_id=request_id)
                yield None
                reader = MessageReader()
                async for part in response:
                    for message in reader.feed(part):
                        failures = 0
                        if message.id:
                            last_event_id = message.id
                        if message.data:
                            yield Event(message.id, message.event, _json(message, request_id))
            outcome: retry.Outcome | None = retry.Lost()
            error: Spg99Error = Internal("The stream of events ended.", request_id=request_id)
        except NoAnswer as cause:
            outcome = outcome_of(cause)
            error = answers.transport_error(
                cause, transport.address, request_id=request_id, repeatable=True, changes=False
            )
        except Spg99Error as refused:
            outcome, error = retry.Answered(refused.http_status), refused
        failures += 1
        pause = None if outcome is None else transport.pause(outcome, is_repeatable=True, attempt=failures)
        if pause is None:
            raise error
        await loopless.sleep(pause)


def _json(message: Message, request_id: str) -> dict[str, Any]:
    try:
        value = json.loads(message.data)
    except ValueError:
        raise Internal("An event of the Control Plane is not whole JSON.", request_id=request_id) from None
    return value if isinstance(value, dict) else {"value": value}
