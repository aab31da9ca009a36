"""`Idempotency-Key`: the same POST again answers what the first one answered. Here: HTTP. Not here: rows (records/kept_answers.py).

The key's row, the change and the encrypted answer are one transaction: after a crash between commit and answer the retry
finds all three, before the commit none. Two at once: the second waits for the first and is then answered the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.responses import Response

from spg99 import faults
from spg99.control_plane.records import kept_answers
from spg99.control_plane.serving import answers, problems
from spg99.control_plane.serving.answers import Answer
from spg99.control_plane.serving.call import Call
from spg99.control_plane.store import Transaction
from spg99.errors import BadRequest, Conflict, NotFound
from spg99.resources import Permission

KEY_LENGTH_MAX = 255
REPLAY_ONLY = "idempotency-replay-only"
WITHDRAWN = Conflict(
    "A later request has withdrawn this one before it arrived. Nothing was made.", details={"first": {}}
)
"""What a create is answered whose client was gone and has asked since whether it had happened."""
Change = Callable[[Transaction], Awaitable[Answer]]
Ahead = Callable[[Transaction], Awaitable[None]]


async def _nothing(_: Transaction) -> None:
    pass


async def once(call: Call, body: Mapping[str, Any], change: Change, *, ahead: Ahead = _nothing) -> Response:
    """Answers what `change` does in one transaction; does it once for all requests with the same Idempotency-Key. `ahead` defers
    what `change` has to know first, and writes nothing: it travels with the question for the key.

    With the header `Idempotency-Replay-Only` nothing is done: an earlier request's answer is told again, else it is 404
    (`look`), and `withdraw` also sees to it that an earlier request that is still on its way does nothing when it arrives.
    """
    plane, key = call.plane, call.request.headers.get("idempotency-key")
    if key is None:
        async with plane.store.transaction() as tx:
            await ahead(tx)
            answer = await change(tx)
            faults.point("api.before_commit")
        faults.point("api.after_commit")
        return answer.response()
    if not 1 <= len(key) <= KEY_LENGTH_MAX:
        raise BadRequest(f"The header Idempotency-Key takes 1 to {KEY_LENGTH_MAX} characters.")
    # Of the API key, not of the account: two people with the same program must not adopt each other's objects.
    scope_id, bound_to = call.key.key_id, f"idempotency:{key}"
    fingerprint = request_sha256(call, body)
    async with plane.store.transaction() as tx:
        await kept_answers.lock(tx, scope_id, key)
        await ahead(tx)
        kept = await kept_answers.claimed(tx, scope_id, key, plane.clock)
        if kept is not None:
            if await kept_answers.is_acknowledged(tx, scope_id, key):
                raise Conflict(
                    "The answer under this Idempotency-Key was received (PUT /v2/idempotency-keys/acknowledged), so it is "
                    "not told again. Use a fresh key for another object.",
                    details={
                        "acknowledged": True,
                        "first": _ids_in(plane.box.decrypt(kept.response_encrypted, bound_to)),
                    },
                )
            if kept.request_sha256 != fingerprint:
                raise Conflict(
                    "This Idempotency-Key was used before for another request. Use a fresh one for each new request.",
                    details={"first": _ids_in(plane.box.decrypt(kept.response_encrypted, bound_to))},
                )
            raw = plane.box.decrypt(kept.response_encrypted, bound_to)
            headers = kept.response_headers | {"Idempotency-Replayed": "true"}
            return answers.http(kept.response_status, raw, headers)
        if (replay_only := call.request.headers.get(REPLAY_ONLY)) is not None:
            if replay_only == "withdraw":
                await kept_answers.keep(
                    tx,
                    scope_id,
                    key,
                    request_sha256=fingerprint,
                    status=WITHDRAWN.http_status,
                    headers={},
                    body_encrypted=plane.box.encrypt(json.dumps(WITHDRAWN.envelope()).encode(), bound_to),
                    clock=plane.clock,
                )
            return problems.response_to(
                NotFound("Nothing was made under this Idempotency-Key."), problems.request_id_of(call.request.scope)
            )
        answer = await change(tx)
        await kept_answers.keep(
            tx,
            scope_id,
            key,
            request_sha256=fingerprint,
            status=answer.status,
            headers=answer.headers,
            body_encrypted=plane.box.encrypt(answer.body_bytes(), bound_to),
            clock=plane.clock,
        )
        faults.point("api.before_commit")
    faults.point("api.after_commit")
    return answer.response()


def request_sha256(call: Call, body: Mapping[str, Any]) -> str:
    """What makes two requests the same: method, path, query, body, account, and what the caller may see of the answer.

    The last, because an answer may hold secrets: another key of the account must not read them by repeating the request.
    """
    rights = sorted(call.key.permissions) if Permission.CAN_MANAGE_KEYS in call.key.permissions else []
    seen = [call.org_id, call.key.scope, call.key.tenant_id, call.may(Permission.CAN_READ_CREDENTIALS), rights]
    request = call.request
    parts = [request.method, request.url.path, sorted(request.query_params.multi_items()), body, seen]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _ids_in(raw: bytes) -> dict[str, str]:
    """The ids in a kept answer: enough to recognise one's own object after an edit, and nothing secret."""
    body = json.loads(raw)
    return {name: value for name, value in body.items() if name.endswith("_id") and isinstance(value, str)}
