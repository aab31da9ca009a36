"""Create, read, update, delete and wait, for any noun and any bridge. The tools' words stay in the bridges.

Here: what is asked of the Control Plane, and in which order. Not here: what may be in a create's way (creating.py), what is wrong
with inputs (inputs.py), what differs (changes.py), when to look again (waiting.py), what a tool calls things (words.py).

Values are JSON values under our field names. An object is known by its human id (`acme/app`) and its uid (`db_...`): one
with the same name and another uid is somebody else's.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

from spg99.bridges.shared.changes import diff, patch, refused_deletion
from spg99.bridges.shared.creating import Creating
from spg99.bridges.shared.endings import Interrupted as Interrupted  # raised here: who calls catches both from here
from spg99.bridges.shared.endings import Unfinished as Unfinished
from spg99.bridges.shared.objects import (
    Created,
    Held,
    Values,
    body_of,
    id_values_of,
    inputs_of,
    is_going,
    is_same,
    keep_secrets,
    matches,
    words_of,
)
from spg99.bridges.shared.settling import Progress as Progress
from spg99.bridges.shared.settling import Settling, no_progress
from spg99.bridges.shared.waiting import Waiter
from spg99.bridges.shared.words import ANY_TOOL, Words
from spg99.client.loopless import TimeLimit
from spg99.declarer import Declarer
from spg99.errors import Conflict, NotFound, Spg99Error, Unavailable
from spg99.shapes import Noun

if TYPE_CHECKING:
    from spg99.client import Client  # brings much along, which a bridge needs only once it connects

ACKNOWLEDGED_MAX = 1000
"""Keys that one call takes."""
ACKNOWLEDGE_SECONDS_MAX = 2.0
"""Pulumi kills a provider 5 s after it asked it to stop."""


class Found(NamedTuple):
    """An object as it is now."""

    human_id: str
    values: Values
    inputs: Values
    """What a user would have to write to get it."""


class Operations:
    """What bridges do with one Control Plane. Many calls at once: in one event loop, or begun by threads of their own (client/loopless.py)."""

    def __init__(self, client: Client, words: Words = ANY_TOOL) -> None:
        self._client = client
        self._words = words
        self._waiter = Waiter(client)
        self._settling = Settling(self._read_if_there, self._waiter, words)
        self._creating = Creating(client, words, self._read_if_there, self._waiter, self._settling)
        self._answered: list[str] = []
        """Keys of the creates that were answered and not acknowledged yet."""

    @property
    def client(self) -> Client:
        """The connection, for who asks what changes nothing (interrupted.py)."""
        return self._client

    async def aclose(self) -> None:
        """Ends the event stream and closes all connections."""
        await self._waiter.aclose()
        await self._client.aclose()

    def interrupt(self) -> None:
        """Ends all waits; what was created is told as Unfinished, what was not begun is not begun."""
        self._waiter.interrupt()

    async def acknowledge(self) -> None:
        """Tells the Control Plane that what was created is known to the tool, which has ended its run in order.

        From then on no create of the same declaration is answered that object as new. Nothing is raised: without it a lost
        answer is told again, for a day.
        """
        keys, self._answered = self._answered, []
        with contextlib.suppress(Spg99Error, TimeoutError):
            async with TimeLimit(ACKNOWLEDGE_SECONDS_MAX):
                for first in range(0, len(keys), ACKNOWLEDGED_MAX):
                    await self._client.acknowledge(keys[first : first + ACKNOWLEDGED_MAX])

    async def create(
        self,
        noun: Noun,
        inputs: Mapping[str, Any],
        *,
        declaration: str | None,
        declarer: Declarer | None = None,
        held: Held | None = None,
        seconds_max: float | None = None,
        progress: Progress = no_progress,
    ) -> Created:
        """Creates an object and waits until it is settled.

        `declaration` names it (Pulumi's URN, a token that Terraform keeps): asked again for the same one, after a lost
        answer or a kill, it finds the object of the first time instead of making a second. None: every call makes one.
        `declarer` is who the Control Plane notes it for (`spg99 orphans`).
        `held` is the object that the tool's state has for the declaration: that one is never answered as the new one.
        Raises Unfinished when the object exists but is not settled, Conflict when `held` would have to go first.
        """
        deadline = _deadline(seconds_max or noun.seconds.create)
        with self._patient(deadline, progress):
            body = body_of(noun, inputs)
            made, now, was_there, key = await self._creating.make_or_find(
                noun, body, declaration, declarer, held, deadline, progress
            )
            values = keep_secrets(noun, now, made)
            settled = await self._settling.settled(noun, values, "created", deadline, progress)
            if declaration is not None:
                self._answered.append(key)
            return Created(noun.id_of(values), settled, was_there)

    async def read(
        self,
        noun: Noun,
        human_id: str,
        *,
        old: Mapping[str, Any],
        old_inputs: Mapping[str, Any] | None = None,
        declarer: Declarer | None = None,
        seconds_max: float | None = None,
    ) -> Found | None:
        """The object as it is now; None when it is gone or another has taken its name.

        `old` is what was last known of it (empty: nothing), `old_inputs` what the user wrote. Raises Unavailable when it
        takes longer than `seconds_max`, Internal when the answer is not what the noun's shape says.
        """
        now = await self.read_if_there(noun, human_id, declarer=declarer, seconds_max=seconds_max)
        if now is None or is_going(noun, now) or not is_same(noun, old, now):
            return None
        values = keep_secrets(noun, now, old)
        return Found(noun.id_of(values), values, inputs_of(noun, values, old, old_inputs))

    async def read_if_there(
        self, noun: Noun, human_id: str, *, declarer: Declarer | None = None, seconds_max: float | None = None
    ) -> Values | None:
        """The values of an object that others manage (a data source, a function), whatever its state; None: there is none."""
        limit = seconds_max or noun.seconds.read
        try:
            with self._patient(_deadline(limit), no_progress):
                async with TimeLimit(limit):
                    return await self._read_if_there(noun, human_id, declarer)
        except TimeoutError:
            raise Unavailable(
                f"Reading the {words_of(noun)} '{human_id}' took longer than {self._words.time_limit}, {limit:g} s. Nothing "
                "was changed. Try again; if it stays, check whether the Control Plane is busy."
            ) from None

    async def find_all(
        self,
        noun: Noun,
        values: Mapping[str, Any],
        filters: Mapping[str, Any],
        *,
        seconds_max: float | None = None,
    ) -> list[Values]:
        """All objects of a collection (`values` fill its path) that match the filters (`Noun.filters`; null: no filter)."""
        wanted: dict[str, Any] = {name: value for name, value in filters.items() if value is not None}
        limit = seconds_max or noun.seconds.read
        try:
            with self._patient(_deadline(limit), no_progress):
                async with TimeLimit(limit):
                    found = [item async for item in self._client.list(noun, dict(values), **wanted)]
        except TimeoutError:
            raise Unavailable(
                f"Listing the {noun.plural.replace('_', ' ')} took longer than {self._words.time_limit}, {limit:g} s."
            ) from None
        return [item for item in found if matches(noun, item, wanted)]

    async def update(
        self,
        noun: Noun,
        human_id: str,
        *,
        old: Mapping[str, Any],
        new_inputs: Mapping[str, Any],
        old_inputs: Mapping[str, Any] | None = None,
        declarer: Declarer | None = None,
        seconds_max: float | None = None,
        progress: Progress = no_progress,
    ) -> Values:
        """Makes the object as wanted and waits until it is settled; also finishes what an earlier call left unfinished.

        A write-only input is sent when it differs from `old_inputs`; without `old_inputs`, whenever it is given.
        """
        deadline = _deadline(seconds_max or noun.seconds.update)
        with self._patient(deadline, progress):
            if self._waiter.interrupted:
                raise Interrupted
            now = await self._read_if_there(noun, human_id)
            if now is None or is_going(noun, now) or not is_same(noun, old, now):
                raise NotFound(
                    f"The {words_of(noun)} '{human_id}' of this resource was deleted outside. {self._words.refresh}; "
                    f"{self._words.apply} then creates it again."
                )
            values = keep_secrets(noun, now, old)
            changes = diff(noun, old_outputs=values, new_inputs=new_inputs, old_inputs=old_inputs)
            if body := patch(noun, changes):
                answer = await self._client.update(noun, id_values_of(noun, human_id), body, declarer=declarer)
                values = keep_secrets(noun, answer, values)
            return await self._settling.settled(noun, values, "changed", deadline, progress)

    async def delete(
        self,
        noun: Noun,
        human_id: str,
        *,
        old: Mapping[str, Any],
        seconds_max: float | None = None,
        progress: Progress = no_progress,
    ) -> None:
        """Deletes the object and waits until it is gone. One that is gone, or whose name another has, is a success.

        Connected clients do not hinder it where the noun says so (`Noun.force_delete`): who destroys in an
        infrastructure program means it; a noun's protection (`Noun.protected_by`) is there for who does not. Raises
        Conflict for a protected one.
        """
        deadline = _deadline(seconds_max or noun.seconds.delete)
        with self._patient(deadline, progress):
            doomed = await self._to_delete(noun, human_id, old)
            if doomed is None:
                return
            operation: Mapping[str, Any] | None = None
            if not is_going(noun, doomed):
                if self._waiter.interrupted:
                    raise Interrupted
                try:
                    operation = await self._client.delete(
                        noun, id_values_of(noun, human_id), query=_of_uid(noun, doomed)
                    )
                except NotFound:
                    return
                except Conflict:
                    # What protects it may have been set since the tool last looked: then this is its sentence, not the server's.
                    now = await self._read_if_there(noun, human_id)
                    if now is not None and is_same(noun, doomed, now):
                        self._check_unprotected(noun, now)
                    raise
                if operation is None or await self._waiter.has_ended_well(operation, deadline):
                    return
            await self._settling.gone(noun, human_id, doomed, deadline, progress)

    async def _to_delete(self, noun: Noun, human_id: str, old: Mapping[str, Any]) -> Values | None:
        """The object that a deletion means: what is last known of it, where that says all there is to know. Else it is read;
        None: it is not there any more. Raises Conflict for a protected one.

        A request names the uid, so the Control Plane itself takes care that no other object is meant, and refuses a protected one.
        """
        is_known = old.get(noun.uid_field) is not None and not is_going(noun, old)
        if is_known and refused_deletion(noun, old) is None:
            return dict(old)
        now = await self._read_if_there(noun, human_id)
        if now is None or not is_same(noun, old, now):
            return None
        if not is_going(noun, now):
            self._check_unprotected(noun, now)
        return now

    def _check_unprotected(self, noun: Noun, now: Values) -> None:
        if (refusal := refused_deletion(noun, now, spelling=self._words.spelling)) is not None:
            raise Conflict(refusal)

    def _patient(self, deadline: float, progress: Progress) -> AbstractContextManager[None]:
        """Inside, an outage of the Control Plane is waited out until the resource's own time limit."""
        return self._client.patient(deadline, progress, lambda: self._waiter.interrupted)

    async def _read_if_there(self, noun: Noun, human_id: str, declarer: Declarer | None = None) -> Values | None:
        try:
            return await self._client.read(noun, id_values_of(noun, human_id), declarer=declarer)
        except NotFound:
            return None


def _of_uid(noun: Noun, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a deletion asks: by its uid a repetition is harmless, the name may be another object's by the time it arrives."""
    query: dict[str, Any] = {"uid": values[noun.uid_field]} if noun.has_name() else {}
    if noun.force_delete:
        query["force"] = True
    return query or None


def _deadline(seconds: float) -> float:
    return time.monotonic() + seconds
