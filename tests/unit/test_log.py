"""Log lines as whoever reads them gets them: a process writes to a pipe or to a terminal. Each script is one process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from kit.scripts import Scripts

START = "from spg99 import log; log.configure('gateway'); out = log.get('room')\n"
TOKEN = "spg99_key_" + "a" * 8 + "_" + "z9" * 20
DSN = "postgresql://tnt_acme:s3cr3t-pass@db.example:6543/app"
running: Scripts
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module", autouse=True)
def scripts() -> Iterator[Scripts]:
    """Each script is a process; they share what was imported, not what was configured."""
    global running
    with Scripts("import asyncio, spg99.log") as running:
        yield running


def to_a_pipe(script: str) -> list[dict[str, Any]]:
    """The lines that a process writes when nobody watches: each is JSON, all of it."""
    return [json.loads(line) for line in running.to_a_file(START + script).splitlines()]


def to_a_terminal(script: str) -> str:
    """What a person sees, without the colours."""
    return ANSI.sub("", running.to_a_terminal(START + script))


def test_a_pipe_gets_json_a_line() -> None:
    (line,) = to_a_pipe("out.info('woken', db_id='db_1', seconds=0.5, words='two\\nlines')")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line.pop("timestamp"))
    assert line == {
        "event": "woken", "level": "info", "process": "gateway", "room": "room",
        "db_id": "db_1", "seconds": 0.5, "words": "two\nlines",
    }  # fmt: skip


def test_a_terminal_gets_lines_for_people() -> None:
    text = to_a_terminal("out.info('woken', db_id='db_1')")
    assert text.count("\n") == 1
    assert re.search(r"\[info +\] woken +.*db_id=db_1", text), text
    with pytest.raises(ValueError):
        json.loads(text)


@pytest.mark.parametrize(("asked", "as_json"), [(True, True), (False, False)])
def test_what_is_asked_for_beats_the_terminal(asked: bool, as_json: bool) -> None:
    script = f"log.configure('gateway', json={asked}); out.info('woken')"
    for text in (running.to_a_file(START + script), to_a_terminal(script)):
        assert text.startswith("{") == as_json, text


def test_less_than_the_level_is_not_written() -> None:
    lines = to_a_pipe("log.configure('gateway', level='warning'); out.info('quiet'); out.warning('loud')")
    assert [line["event"] for line in lines] == ["loud"]


def test_every_line_of_a_request_bears_its_id_and_no_other_line_does() -> None:
    lines = to_a_pipe(
        "import asyncio\n"
        "async def serve(request_id):\n"
        "    log.bind_request(request_id)\n"
        "    for part in 'ab':\n"
        "        await asyncio.sleep(0)\n"
        "        log.get('another').info(part, of=request_id)\n"
        "async def main(): await asyncio.gather(serve('req_1'), serve('req_2'))\n"
        "asyncio.run(main()); out.info('after')"
    )
    *served, after = lines
    assert sorted((line["of"], line["event"]) for line in served) == [
        ("req_1", "a"), ("req_1", "b"), ("req_2", "a"), ("req_2", "b"),
    ]  # fmt: skip
    assert all(line["request_id"] == line["of"] for line in served), served
    assert "request_id" not in after
    text = to_a_terminal("log.bind_request('req_3'); out.info('served')")
    assert "request_id=req_3" in text


NAMED = ("password", "pg_password", "token", "enrolment_token", "secret", "api_key", "Authorization", "dsn")


@pytest.mark.parametrize("name", NAMED)
def test_a_field_with_a_secret_name_is_hidden(name: str) -> None:
    (line,) = to_a_pipe(f"out.info('x', {name}='hunter2', token_id='key_1')")
    assert line[name] == "[secret]"
    assert line["token_id"] == "key_1"  # an id opens nothing
    assert "hunter2" not in to_a_terminal(f"out.info('x', {name}='hunter2')")


SECRETS = {
    "dsn": (DSN, "s3cr3t-pass", "postgresql://tnt_acme:[secret]@db.example:6543/app"),
    "token": (TOKEN, "z9z9", "spg99_key_aaaaaaaa_[secret]"),
    "libpq": ("host=h password=s3cr3t user=u", "s3cr3t", "host=h password=[secret] user=u"),
    "quoted": ("host=h password = 's3 cr\\'3t' user=u", "s3 cr", "host=h password = [secret] user=u"),
    "url": ("/?user=u&password=s3cr3t&sslmode=require", "s3cr3t", "/?user=u&password=[secret]&sslmode=require"),
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_inside_other_words_is_hidden(kind: str) -> None:
    written, secret, shown = SECRETS[kind]
    script = f"text = 'cannot reach ' + {written!r} + ', sorry'\nout.info('x', reason=text); out.info(text)"
    for line, field in zip(to_a_pipe(script), ("reason", "event"), strict=True):
        assert line[field] == f"cannot reach {shown}, sorry"
    text = to_a_terminal(script)
    assert text.count(shown) == 2, text
    assert secret not in text


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_inside_an_exception_is_hidden(kind: str) -> None:
    """Also in the one that caused it, and whether it is logged by `exception` or by `exc_info`."""
    written, secret, shown = SECRETS[kind]
    script = (
        f"written = bytes.fromhex({written.encode().hex()!r}).decode()\n"  # not to be seen in the lines of the source
        "try:\n"
        "    try: raise OSError('no answer from ' + written)\n"
        "    except OSError as cause: raise RuntimeError('gave up on ' + written) from cause\n"
        "except RuntimeError as error:\n"
        "    out.exception('failed')\n"
        "    out.warning('failed', exc_info=error)\n"
    )
    lines = to_a_pipe(script)
    assert [line["event"] for line in lines] == ["failed", "failed"]
    for text in (*(line["exception"] for line in lines), to_a_terminal(script)):
        assert f"OSError: no answer from {shown}" in text
        assert f"RuntimeError: gave up on {shown}" in text
        assert secret not in text


def test_a_traceback_shows_no_local_variables() -> None:
    script = (
        "def fail(held):\n    1 / 0\n"
        "try: fail('held' + '-in-a-variable')\n"
        "except ZeroDivisionError: out.exception('failed')"
    )
    (line,) = to_a_pipe(script)
    for text in (line["exception"], to_a_terminal(script)):
        assert "ZeroDivisionError" in text
        assert "held-in-a-variable" not in text


def test_words_that_only_look_like_secrets_stay() -> None:
    sentence = 'password authentication failed for user "tnt_acme" at https://db.example:6543/app, key_1'
    (line,) = to_a_pipe(f"out.info({sentence!r})")
    assert line["event"] == sentence


def test_a_reader_that_went_away_costs_only_the_lines() -> None:
    ours, its = os.pipe()
    os.close(ours)
    script = "out.info('lost'); out.warning('lost as well'); print('done')"
    done = subprocess.run(
        [sys.executable, "-c", START + script], stdout=subprocess.PIPE, stderr=its, text=True, check=False
    )
    os.close(its)
    assert done.stdout == "done\n"
