"""The same POST again answers what the first one answered, whoever was killed in between, and never makes a second object."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from spg99.clock import FrozenClock


def idem(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


async def test_a_repeat_answers_the_same(api: Any) -> None:
    first = await api.call("POST", "/tenants", {"name": "acme"}, headers=idem("k1"))
    again = await api.call("POST", "/tenants", {"name": "acme"}, headers=idem("k1"))
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert (again.headers["etag"], again.headers["location"]) == (first.headers["etag"], first.headers["location"])
    assert len((await api.ok("GET", "/tenants"))["items"]) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tenants/acme/dbs", {"name": "second"}),
        ("/tenants/acme/credentials/rotate", None),
        ("/tenants/acme/credentials", {"pg_password": "a password of my own"}),
        ("/tenants/acme/dbs/app/start", None),
        ("/tenants/acme/dbs/app/scale", {"target_scale": 1}),
        ("/keys", {"name": "ci"}),
        ("/account/contact", {"name": "x"}),
    ],
)
async def test_every_post_honours_it(api: Any, path: str, body: Any) -> None:
    await api.tenant()
    await api.database()
    first = await api.call("POST", path, body, headers=idem("k"))
    assert first.is_success, first.text
    again = await api.call("POST", path, body, headers=idem("k"))
    assert (again.status_code, again.content) == (first.status_code, first.content)


async def test_rotating_a_key_twice_under_one_key_is_one_rotation(api: Any) -> None:
    made = await api.ok("POST", "/keys", {"name": "ci"})
    first, again = [await api.ok("POST", f"/keys/{made['key_id']}/rotate", headers=idem("r")) for _ in range(2)]
    assert first["token"] == again["token"]
    assert (await api.call("GET", "/tenants", token=again["token"])).status_code == 200


async def test_the_key_with_another_request_is_a_conflict(api: Any) -> None:
    await api.call("POST", "/tenants", {"name": "acme"}, headers=idem("k"))
    for path, body in (
        ("/tenants", {"name": "bolt"}),
        ("/keys", {"name": "acme"}),
        ("/tenants", {"name": "acme", "project": "p"}),
    ):
        answer = await api.call("POST", path, body, headers=idem("k"))
        assert answer.status_code == 409
        assert "Idempotency-Key" in answer.json()["message"]
    assert len((await api.ok("GET", "/tenants"))["items"]) == 1


async def test_another_order_of_fields_is_the_same_request(api: Any) -> None:
    one = await api.call("POST", "/tenants", {"name": "acme", "project": "p"}, headers=idem("k"))
    two = await api.call("POST", "/tenants", {"project": "p", "name": "acme"}, headers=idem("k"))
    assert two.content == one.content


async def test_many_at_once_make_one_object_and_all_get_it(make_api: Any) -> None:
    planes = [await make_api(), await make_api()]
    answers = await asyncio.gather(
        *(planes[n % 2].call("POST", "/tenants", {"name": "acme"}, headers=idem("k")) for n in range(20))
    )
    assert {a.status_code for a in answers} == {201}
    assert len({a.content for a in answers}) == 1
    assert sum("idempotency-replayed" not in a.headers for a in answers) == 1


async def test_an_error_is_not_kept(api: Any) -> None:
    first = await api.call("POST", "/tenants/acme/dbs", {"name": "app"}, headers=idem("k"))
    assert first.status_code == 404
    await api.tenant()
    assert (await api.call("POST", "/tenants/acme/dbs", {"name": "app"}, headers=idem("k"))).status_code == 201


async def test_after_a_day_the_key_is_fresh(make_api: Any) -> None:
    clock = FrozenClock(datetime.now(UTC))
    api = await make_api(clock=clock)
    await api.ok("POST", "/keys", {"name": "a"}, headers=idem("k"))
    clock.advance(seconds=24 * 3600 + 1)
    made = await api.call("POST", "/keys", {"name": "b"}, headers=idem("k"))
    assert made.status_code == 201


async def test_another_key_of_the_account_cannot_read_the_kept_secret(api: Any) -> None:
    body = {"name": "acme"}
    await api.call(
        "POST", "/tenants", body, headers=idem("k"), token=await api.key("can_create_tenant", "can_read_credentials")
    )
    blind = await api.key("can_create_tenant")
    answer = await api.call("POST", "/tenants", body, headers=idem("k"), token=blind)
    assert answer.status_code == 409
    assert "pg_password" not in answer.text


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_of_wrong_length_is_refused(api: Any, key: str) -> None:
    assert (await api.call("POST", "/tenants", {"name": "acme"}, headers=idem(key))).status_code == 400


@pytest.mark.slow  # broken
@pytest.mark.parametrize(("point", "made"), [("api.after_commit", 1), ("api.before_commit", 0)])
def test_a_server_killed_around_the_commit_makes_one_object(
    cluster18: Any, control_plane: Any, tmp_path: Path, point: str, made: int
) -> None:
    url = cluster18.database()
    body = {"name": "acme"}
    with control_plane(tmp_path, url, SPG99_FAULT_POINT=point) as doomed:
        with pytest.raises(httpx.TransportError):
            doomed.http.post("/tenants", json=body, headers=idem("k"))
        assert doomed.process.wait(20) == -signal.SIGKILL
    with psycopg.connect(url) as connection:
        assert connection.execute("select count(*) from tenants").fetchone() == (made,)
    with control_plane(tmp_path, url) as second:
        answer = second.http.post("/tenants", json=body, headers=idem("k"))
        assert answer.status_code == 201
        assert ("idempotency-replayed" in answer.headers) == bool(made)
        assert answer.json()["pg_password"]
        assert second.http.get("/tenants").json()["items"] == [answer.json()]


def test_a_process_says_when_it_is_ready_and_ends_in_order(cluster18: Any, control_plane: Any, tmp_path: Path) -> None:
    with control_plane(tmp_path, cluster18.database()) as plane:
        assert plane.ready | {"port": 0, "url": ""} == {
            "ready": True, "process": "control-plane", "host": "127.0.0.1", "port": 0, "metrics_port": None, "url": "",
        }  # fmt: skip
        assert plane.ready["url"] == f"http://127.0.0.1:{plane.ready['port']}/v2"
        stream = plane.http.stream("GET", "/events")
        with stream as answer:
            assert answer.status_code == 200
            plane.process.send_signal(signal.SIGTERM)
            assert plane.process.wait(20) == 0
    assert "Traceback" not in (tmp_path / "stderr").read_text()


def test_another_secret_key_is_refused_in_a_sentence(cluster18: Any, control_plane: Any, tmp_path: Path) -> None:
    url = cluster18.database()
    with control_plane(tmp_path, url) as plane:
        plane.http.post("/tenants", json={"name": "acme"}).raise_for_status()
    (tmp_path / "secrets" / "catalogue.key").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "spg99", "control-plane", "--data-dir", tmp_path, "--catalogue-url", url, "--port", "0"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "SPG99_SECRET_KEY_FILE" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_key_belongs_to_the_api_key_that_used_it(api: Any) -> None:
    """Two people with the same program and account: the second must hear that the name is taken, not get the object."""
    one, other = [await api.key("can_create_tenant", "can_read_credentials", name=name) for name in ("one", "other")]
    first = await api.call("POST", "/tenants", {"name": "acme"}, headers=idem("same"), token=one)
    second = await api.call("POST", "/tenants", {"name": "acme"}, headers=idem("same"), token=other)
    assert (first.status_code, second.status_code) == (201, 409)
    assert "idempotency-replayed" not in second.headers
    assert "first" not in second.json()["details"]


async def test_another_body_is_refused_and_names_what_the_first_one_made(api: Any) -> None:
    await api.tenant()
    made = await api.call("POST", "/tenants/acme/dbs", {"name": "app"}, headers=idem("d"))
    refused = await api.call("POST", "/tenants/acme/dbs", {"name": "app", "size": "L2"}, headers=idem("d"))
    assert refused.status_code == 409
    first = refused.json()["details"]["first"]
    assert first["db_id"] == made.json()["db_id"]
    assert all(name.endswith("_id") for name in first)


async def test_an_answer_that_was_received_is_not_told_again_as_a_new_object(api: Any) -> None:
    made = await api.call("POST", "/tenants", {"name": "acme"}, headers=idem("k"))
    for _ in range(2):  # it may be told twice, together with keys that nobody used
        told = await api.call("PUT", "/idempotency-keys/acknowledged", {"keys": ["k", "never-used"]})
        assert (told.status_code, told.content) == (204, b"")
    for body in ({"name": "acme"}, {"name": "acme", "project": "p"}):
        again = await api.call("POST", "/tenants", body, headers=idem("k"))
        assert again.status_code == 409
        details = again.json()["details"]
        assert details["acknowledged"] is True and details["first"]["tenant_id"] == made.json()["tenant_id"]
    assert "topsecret" not in again.text and "pg_password" not in again.text
    fresh = await api.call("POST", "/tenants", {"name": "other"}, headers=idem("never-used"))
    assert fresh.status_code == 201, "a key that nobody has used has no answer that could be told"


async def test_only_the_key_that_sent_it_can_acknowledge(api: Any) -> None:
    other = (await api.ok("POST", "/keys", {"name": "other"}))["token"]
    first = await api.call("POST", "/tenants", {"name": "acme"}, headers=idem("k"))
    told = await api.call("PUT", "/idempotency-keys/acknowledged", {"keys": ["k"]}, token=other)
    assert told.status_code == 204
    again = await api.call("POST", "/tenants", {"name": "acme"}, headers=idem("k"))
    assert (again.status_code, again.content) == (201, first.content)


@pytest.mark.parametrize("keys", [[], [""], ["k" * 256], ["k"] * 1001, "k", None])
async def test_a_bad_acknowledgement_is_refused_on_its_field(api: Any, keys: Any) -> None:
    refused = await api.call("PUT", "/idempotency-keys/acknowledged", {"keys": keys})
    assert refused.status_code == 400 and any(name.startswith("keys") for name in refused.json()["details"]["fields"])
