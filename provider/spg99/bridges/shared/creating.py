"""Makes an object for a declaration, once: what an earlier run has made is found again, what is in the way is said or waited for.

Here: the keys of a declaration's lives, and whose the object of a taken name is. Not here: waiting until it is settled
(settling.py), what a tool is answered (operations.py).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from spg99.bridges.shared.changes import diff, how_to_replace, patch
from spg99.bridges.shared.endings import Interrupted, Unfinished, not_known
from spg99.bridges.shared.inputs import a
from spg99.bridges.shared.known_declarer import declared_in_this_state
from spg99.bridges.shared.objects import (
    Held,
    Values,
    id_values_of,
    idempotency_key,
    is_going,
    is_same,
    is_settled,
    words_of,
)
from spg99.bridges.shared.settling import Progress, Settling
from spg99.bridges.shared.waiting import Waiter
from spg99.bridges.shared.words import Words
from spg99.declarer import Declarer
from spg99.errors import Conflict, Spg99Error, Unavailable
from spg99.shapes import Noun

if TYPE_CHECKING:
    from spg99.client import Client  # brings much along, which a bridge needs only once it connects

GENERATIONS_MAX = 1000


class Creating:
    """The creates of one process. `read_if_there` reads an object by its human id; None: it is not there."""

    def __init__(
        self,
        client: Client,
        words: Words,
        read_if_there: Callable[[Noun, str], Awaitable[Values | None]],
        waiter: Waiter,
        settling: Settling,
    ) -> None:
        self._client, self._words, self._read_if_there = client, words, read_if_there
        self._waiter, self._settling = waiter, settling

    async def make_or_find(
        self,
        noun: Noun,
        body: Values,
        declaration: str | None,
        declarer: Declarer | None,
        held: Held | None,
        deadline: float,
        progress: Progress,
    ) -> tuple[Values, Values, bool, str]:
        """What the create answered (only it tells some secrets), the object as it is now, whether it was there before, its key.

        Raises Conflict when `held` or another's object would have to go first.
        """
        if held is not None and not await self._stands(noun, held):
            held = None
        if held is not None and (not held.may_be_replaced or (noun.has_name() and held.human_id == noun.id_of(body))):
            raise Conflict(self._not_twice(noun, held.human_id))
        generation = 0
        while generation < GENERATIONS_MAX:
            if self._waiter.interrupted:
                raise Interrupted
            key = idempotency_key(declaration, noun, body, generation)
            try:
                made = await self._client.make(noun, body, idempotency_key=key, declarer=declarer)
            except Unavailable as lost:
                raise (not_known(lost, self._words) if lost.details.get("may_be_done") else lost) from lost.__cause__
            except Conflict as conflict:
                if conflict.details.get("acknowledged"):
                    await self._is_not_new(noun, body, conflict)
                    generation += 1
                    continue
                if "first" in conflict.details:
                    if (mine := await self._mine_before_the_edit(noun, body, conflict, declarer)) is not None:
                        return mine, mine, True, key
                    generation += 1
                    continue
                await self._wait_for_the_name(noun, body, conflict, declarer, deadline, progress)
                continue
            # An answer that was not kept is of this moment: asking again would double what a create costs. One that was kept (not:
            # `was_there`, which is False also after a retry of this call) may be of an object that was deleted since.
            if held is None and not made.is_kept and is_settled(noun, made.values):
                return made.values, made.values, False, key
            now = await self._read_made(noun, made.values, declaration)
            is_alive = now is not None and is_same(noun, made.values, now) and not is_going(noun, now)
            if now is not None and is_alive and (held is None or now.get(noun.uid_field) != held.uid):
                return made.values, now, made.was_there, key
            # The answer was kept from an object that is gone, or from the one that is to be replaced: this declaration was
            # created before. Its next life has a key of its own.
            generation += 1
        raise Conflict(
            f"This {words_of(noun)} was created and deleted {GENERATIONS_MAX} times in a day. Wait or rename it."
        )

    async def _stands(self, noun: Noun, held: Held) -> bool:
        """Whether the object of a state is there; one whose id is not known is taken to be."""
        if held.human_id is None:
            return True
        now = await self._read_if_there(noun, held.human_id)
        return now is not None and not is_going(noun, now) and held.uid in (None, now.get(noun.uid_field))

    def _not_twice(self, noun: Noun, human_id: str | None) -> str:
        return (
            f"The {words_of(noun)} '{human_id}' of this resource exists, and the engine wants a new one before it deletes this one. "
            f"Nothing was changed. {how_to_replace(noun, self._words)}"
        )

    async def _is_not_new(self, noun: Noun, body: Values, conflict: Conflict) -> None:
        """An earlier run of this declaration has made an object and recorded it. Raises Conflict while its name is taken by it."""
        now = await self._read_if_there(noun, noun.id_of(body)) if noun.has_name() else None
        first = conflict.details.get("first") or {}
        if now is None or is_going(noun, now) or now.get(noun.uid_field) != first.get(noun.uid_field):
            return
        human_id = noun.id_of(body)
        raise Conflict(
            f"The {words_of(noun)} '{human_id}' exists: this resource has made it, and an earlier run has recorded it. Nothing was "
            f"changed. {how_to_replace(noun, self._words)} If the state was lost, {self._adopt(noun, human_id)}.",
            request_id=conflict.request_id,
        ) from conflict

    def _adopt(self, noun: Noun, human_id: str) -> str:
        collection = noun.collection_path.rpartition("/")[2]
        return self._words.adopt.format(id=human_id, noun=noun.noun, title=noun.title, collection=collection)

    async def _read_made(self, noun: Noun, made: Values, declaration: str | None) -> Values | None:
        """What was just made, as it is now. Raises Unfinished when it cannot be looked at (a right was withdrawn), so that
        it is not forgotten.
        """
        try:
            return await self._read_if_there(noun, noun.id_of(made))
        except Spg99Error as problem:
            # Who is only away has the object for the next run, which finds it by its declaration. Terraform would call it
            # tainted, and replace it, if it were told of it now.
            if isinstance(problem, Unavailable) and declaration is not None:
                raise not_known(problem, self._words) from problem.__cause__
            raise Unfinished(
                f"The {words_of(noun)} '{noun.id_of(made)}' was created, but cannot be looked at: {problem} Nothing is lost: "
                f"{self._words.apply} goes on from here.",
                human_id=noun.id_of(made),
                values=made,
            ) from problem

    async def _mine_before_the_edit(
        self, noun: Noun, body: Values, conflict: Conflict, declarer: Declarer | None
    ) -> Values | None:
        """This declaration's own object, made before the program was edited and never recorded, brought to what it says
        now; None when that object is gone. Raises `conflict`, explained, when it cannot become what is wanted.
        """
        now = await self._read_if_there(noun, noun.id_of(body)) if noun.has_name() else None
        if (
            now is None
            or is_going(noun, now)
            or now.get(noun.uid_field) != conflict.details["first"].get(noun.uid_field)
        ):
            return None
        changes = diff(noun, old_outputs=now, new_inputs=body)
        if replacing := [change.field for change in changes if change.replaces]:
            raise Conflict(
                f"The {words_of(noun)} '{noun.id_of(body)}' was made by an earlier run whose answer was lost, and "
                f"{', '.join(replacing)} cannot change in place. Declare it as it was, or choose another name.",
                request_id=conflict.request_id,
            ) from conflict
        if changed := patch(noun, changes):
            return await self._client.update(noun, id_values_of(noun, noun.id_of(body)), changed, declarer=declarer)
        return now

    async def _wait_for_the_name(
        self,
        noun: Noun,
        body: Values,
        conflict: Conflict,
        declarer: Declarer | None,
        deadline: float,
        progress: Progress,
    ) -> None:
        """Returns when the name in the way is free. Raises `conflict`, explained, when it will not be."""
        if type(conflict) is not Conflict or any(name not in body for name in noun.id_fields()):
            raise conflict
        human_id = noun.id_of(body)
        there = await self._read_if_there(noun, human_id)
        if there is None:
            raise conflict
        if is_going(noun, there):
            if there.get(noun.uid_field) is None and time.monotonic() > deadline:
                raise conflict
            await self._settling.gone(noun, human_id, there, deadline, progress)
            return
        made_by = await declared_in_this_state(self._client, noun, there, declarer)
        raise Conflict(
            f"{a(words_of(noun)).capitalize()} '{human_id}' "
            f"{self._whose(noun, human_id, made_by, declarer)}; or choose another name.",
            request_id=conflict.request_id,
        ) from conflict

    def _whose(self, noun: Noun, human_id: str, made_by: str | None, declarer: Declarer | None) -> str:
        """Whose the object in the way is, and what to do. `made_by` is the resource of this state that declares it, if one does."""
        adopt = self._adopt(noun, human_id)
        if made_by is None or declarer is None:
            return f"exists already and was not made by this resource. To manage it here, {adopt}; {self._words.moved}"
        if made_by and made_by == declarer.resource:
            return f"exists already. This resource made it, and the state does not hold it any more. To take it in again, {adopt}"
        renamed = self._words.renamed.format(old=made_by or "the old one", noun=noun.noun)
        by = (
            f"{made_by}, a resource of this very stack"
            if made_by
            else f"another resource of this state ('{declarer.state}')"
        )
        return (
            f"exists already and belongs to {by}. If that one was renamed or moved in the program, {renamed}: do not import it, an object "
            f"that a state holds twice is lost with either. Only if the state holds it no more, {adopt}"
        )
