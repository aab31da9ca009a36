"""What became of a create whose end nobody saw. Here: finding out by its declaration, without making anything. Not here: creating
(operations.py), how a tool asks (the bridges), when (the tools).

The Control Plane knows the keys of creates for a day; a request of ours that is answered again tells what was made. The same
question can withdraw the create: a request that is still on its way then makes nothing, however late it arrives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spg99.bridges.shared.creating import GENERATIONS_MAX
from spg99.bridges.shared.objects import Values, body_of, idempotency_key, inputs_of, is_going, is_same, keep_secrets
from spg99.bridges.shared.operations import Found, Operations
from spg99.errors import Conflict, NotFound
from spg99.shapes import Noun

if TYPE_CHECKING:
    from spg99.client import Client  # brings much along, which a bridge needs only once it connects

REPLAY_ONLY = "Idempotency-Replay-Only"


async def was_made(
    operations: Operations, noun: Noun, inputs: Mapping[str, Any], *, declaration: str, withdraw: bool
) -> tuple[Found, str] | None:
    """The object that a declaration's create made, as it is now, and what is missing until it is settled (empty: nothing).

    None: it made none, and with `withdraw` it never will.
    """
    values = await _made(operations.client, noun, inputs, declaration, withdraw)
    if values is None:
        return None
    return Found(noun.id_of(values), values, inputs_of(noun, values, values, dict(inputs))), _unfinished(noun, values)


async def _made(
    client: Client, noun: Noun, inputs: Mapping[str, Any], declaration: str, withdraw: bool
) -> Values | None:
    body = body_of(noun, inputs)
    sent = {name: value for name, value in body.items() if name not in noun.path_fields()}
    headers = {REPLAY_ONLY: "withdraw" if withdraw else "look"}
    for life in range(GENERATIONS_MAX):
        key = idempotency_key(declaration, noun, body, life)
        try:
            answer = await client.call(
                "POST", noun.collection_path, body, json=sent, headers=headers, idempotency_key=key
            )
        except NotFound:
            return None
        except Conflict as conflict:
            if "first" not in conflict.details:
                raise
            uid = conflict.details["first"].get(noun.uid_field)  # none: an earlier question has withdrawn this life
            now = await _now(client, noun, noun.id_of(body)) if uid is not None and noun.has_name() else None
            if now is not None and now.get(noun.uid_field) == uid and not is_going(noun, now):
                return now
        else:
            from spg99.client.shaped import checked  # brings much along, which a bridge needs only once it connects

            made = checked(noun, answer)
            now = await _now(client, noun, noun.id_of(made))
            if now is not None and is_same(noun, made, now) and not is_going(noun, now):
                return keep_secrets(noun, now, made)
        # That life is over; the declaration may have had another.
    return None


def _unfinished(noun: Noun, values: Mapping[str, Any]) -> str:
    if not noun.settled_states or values["state"] in noun.settled_states:
        return ""
    return f"An earlier run was interrupted while it was being made; it is still {values['state']}."


async def _now(client: Client, noun: Noun, human_id: str) -> Values | None:
    try:
        return await client.read(noun, noun.id_values(human_id))
    except NotFound:
        return None
