"""What a safekeeper is asked by agents, as HTTP. Here: calls to messages and back. Not here: what they do (kept_timeline.py),
where they are served (server.py), their shapes (protocol/safekeeper.py)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import zlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spg99 import log, spans
from spg99.errors import BadRequest, Internal, NotFound, Spg99Error, Unavailable
from spg99.protocol import Message
from spg99.protocol import safekeeper as said
from spg99.safekeeper.follower import Followers
from spg99.safekeeper.kept_timeline import KeptTimeline
from spg99.safekeeper.kept_timelines import KeptTimelines
from spg99.wal.lsn import parse_segment_name

WAIT_SECONDS_MAX: Final = 30.0
_AGAIN_SECONDS: Final = 0.002

M = TypeVar("M", bound=Message)
Handler = Callable[[Request], Awaitable[Response]]

_log = log.get("safekeeper")


def app(timelines: KeptTimelines, followers: Followers) -> Starlette:
    """The calls of protocol/safekeeper.py."""

    def timeline_of(request: Request) -> KeptTimeline:
        return timelines.get(request.path_params["timeline_id"])

    async def all_timelines(_: Request) -> Response:
        return _answer(said.KeptTimelines(timelines=[timeline.seen() for timeline in timelines.all()]))

    async def seen(request: Request) -> Response:
        timeline = timeline_of(request)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_seconds(request)):
                while not timeline.seen().caught_up:  # noqa: ASYNC110 - a few looks at a start, and the writer tells nobody
                    await asyncio.sleep(_AGAIN_SECONDS)
        return _answer(timeline.seen())

    async def begin(request: Request) -> Response:
        return _answer(
            timelines.begin(request.path_params["timeline_id"], await _read(request, said.TimelineBegin)).seen()
        )

    async def promise(request: Request) -> Response:
        ask = await _read(request, said.PromiseAsk)
        spans.mark("safekeeper.asked")
        answer = timeline_of(request).promise(ask)
        spans.mark("safekeeper.promised")
        return _answer(answer)

    async def follow(request: Request) -> Response:
        timeline = timeline_of(request)
        ask = await _read(request, said.Follow)
        spans.mark("safekeeper.told")
        timeline.follow(ask)
        spans.mark("safekeeper.follows")
        followers.begin(timeline)
        return _answer(timeline.seen())

    async def rest(request: Request) -> Response:
        timeline = timeline_of(request)
        timeline.rest((await _read(request, said.Rest)).term)
        return _answer(timeline.seen())

    async def trim(request: Request) -> Response:
        timeline = timeline_of(request)
        timeline.trim(await _read(request, said.Trim))
        return _answer(timeline.seen())

    async def segment(request: Request) -> Response:
        timeline = timeline_of(request)
        try:
            named = parse_segment_name(request.path_params["name"], timeline.segment_bytes)
        except ValueError as error:
            raise NotFound(str(error)) from None
        content = await asyncio.to_thread(timeline.segment, named.tli, named.number)
        return Response(content, media_type="application/octet-stream")

    async def wal(request: Request) -> Response:
        timeline = timeline_of(request)
        ask = await _read(request, said.WalAsk)
        if not 0 < ask.end_lsn - ask.begin_lsn <= said.WAL_BYTES_MAX:
            raise BadRequest(f"WAL is asked for by 1 to {said.WAL_BYTES_MAX} bytes.")
        timeline.may_serve(ask)
        content = await asyncio.to_thread(timeline.read, ask.begin_lsn, ask.end_lsn, said.history_of(ask.history))
        timeline.may_serve(ask)  # another life may have cut it while it was read
        headers = {said.WAL_CRC_HEADER: str(zlib.crc32(content))}
        return Response(content, media_type="application/octet-stream", headers=headers)

    async def configure(request: Request) -> Response:
        timeline = timeline_of(request)
        return _answer(timeline.configure((await _read(request, said.Configure)).configuration))

    async def seed(request: Request) -> Response:
        ask = await _read(request, said.Seed)
        timeline = timelines.seed(request.path_params["timeline_id"], ask.configuration, ask.donor)
        return _answer(timeline.configure(ask.configuration))

    async def remove(request: Request) -> Response:
        timelines.remove(request.path_params["timeline_id"])
        return Response(status_code=204)

    one = "/timelines/{timeline_id}"
    calls: list[tuple[str, str, Handler]] = [
        ("GET", "/timelines", all_timelines),
        ("GET", one, seen),
        ("PUT", one, begin),
        ("POST", f"{one}/promise", promise),
        ("POST", f"{one}/follow", follow),
        ("POST", f"{one}/rest", rest),
        ("POST", f"{one}/configure", configure),
        ("POST", f"{one}/seed", seed),
        ("POST", f"{one}/trim", trim),
        ("GET", f"{one}/wal/{{name}}", segment),
        ("POST", f"{one}/wal", wal),
        ("DELETE", one, remove),
    ]
    return Starlette(
        routes=[Route(path, handler, methods=[method]) for method, path, handler in calls],
        exception_handlers={Spg99Error: _refused, OSError: _disk, Exception: _unexpected},
    )


def _answer(message: Message) -> Response:
    return Response(message.model_dump_json(), media_type="application/json")


async def _read(request: Request, kind: type[M]) -> M:
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        wrong = json.loads(error.json(include_url=False, include_input=False))
        fields = {".".join(map(str, one["loc"])): str(one["msg"]) for one in wrong}
        raise BadRequest(f"The {kind.__name__} is not valid.", fields=fields) from None


def _seconds(request: Request) -> float:
    text = request.query_params.get("wait_seconds", "0")
    if not re.fullmatch(r"\d{1,3}(\.\d{1,3})?", text):
        raise BadRequest(f"wait_seconds is a number of seconds, not '{text[:20]}'.")
    return min(float(text), WAIT_SECONDS_MAX)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Spg99Error)
    return JSONResponse(error.envelope(), status_code=error.http_status)


async def _disk(_: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    _log.error("the disk refuses", reason=str(error))
    refusal = Unavailable(f"The disk of the safekeeper refuses: {error.strerror or error}.")
    return JSONResponse(refusal.envelope(), status_code=refusal.http_status)


async def _unexpected(_: Request, error: Exception) -> Response:
    _log.error("a request failed", exc_info=error)
    return JSONResponse(Internal().envelope(), status_code=500)
