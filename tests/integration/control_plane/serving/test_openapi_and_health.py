"""The API's description is true (schemathesis drives the API from it), the contract's curl lines work, health tells what is missing."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from spg99.control_plane.store import migrate

CURL_LINES = """
curl -sS "$SPG99_CP_URL/tenants" -H "Authorization: Bearer $SPG99_API_KEY" -H "Content-Type: application/json" -d '{"name":"acme"}'
curl -sS "$SPG99_CP_URL/tenants/acme/dbs" -H "Authorization: Bearer $SPG99_API_KEY" -H "Content-Type: application/json" -d '{"name":"app"}'
curl -sS "$SPG99_CP_URL/tenants/acme/dbs/app" -H "Authorization: Bearer $SPG99_API_KEY" | jq -r '.connection_string'
"""


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="needs curl and jq")
async def test_the_lines_of_the_contract_work_word_for_word(api: Any) -> None:
    environment = os.environ | {"SPG99_CP_URL": f"{api.base_url}/v2", "SPG99_API_KEY": api.admin_token}
    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-e", "-c", CURL_LINES],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    tenant = await api.ok("GET", "/tenants/acme")
    last = done.stdout.strip().splitlines()[-1]
    connection = last[last.rindex("postgresql://") :]
    assert connection == f"postgresql://{tenant['pg_user']}:{tenant['pg_password']}@db.example:6543/app?sslmode=require"


@pytest.mark.slow  # again
@pytest.mark.timeout(300)
def test_schemathesis_finds_the_description_true(cluster18: Any, control_plane: Any, tmp_path: Path) -> None:
    """Every operation but the endless stream: statuses, bodies, headers as described; bad input refused; no 5xx."""
    config = """
[phases.stateful]
enabled = false
[parameters]
tenant = "acme"
db = "app"
wait = 0
[checks.positive_data_acceptance]
# A rule over several fields (sizes in order, a tenant for a tenant's key) is beyond JSON Schema: 400 with the field.
expected-statuses = ["2xx", "400", "401", "403", "404", "409", "412", "413"]
"""
    (tmp_path / "schemathesis.toml").write_text(config)
    runner = "from schemathesis.cli import schemathesis; schemathesis()"
    url = cluster18.database()
    with control_plane(tmp_path, url) as plane:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "insert into policy_values (key, scope, value) values ('api.requests_per_minute', 'global', '100000000')"
            )
        plane.http.post("/tenants", json={"name": "acme"}).raise_for_status()
        plane.http.post("/tenants/acme/dbs", json={"name": "app"}).raise_for_status()
        done = subprocess.run(
            [
                sys.executable, "-c", runner, "run", f"{plane.ready['url']}/openapi.json",
                "--header", f"Authorization: Bearer {plane.token}",
                "--exclude-path", "/v2/events", "--exclude-path", "/metrics",
                "--max-examples", "10", "--mode", "all",
                "--checks", "all", "--exclude-checks", "ignored_auth,missing_required_header",
                "--generation-deterministic", "--request-timeout", "20", "--no-color",
            ],
            cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


async def test_the_description_is_whole(api: Any) -> None:
    document = (await api.http.get("/v2/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    text = str(document)
    for absent in ("/usage", "/branch", "/internal"):
        assert absent not in " ".join(document["paths"]), absent
    assert "HTTPValidationError" not in text
    assert "'422'" not in text
    names = set(document["components"]["schemas"])
    for reference in re.findall(r"#/components/schemas/([^'\"]+)", text):
        assert reference in names
    create = document["components"]["schemas"]["DatabaseCreate"]
    assert create["required"] == ["name"]
    assert "tenant" not in create["properties"]
    assert create["properties"]["size"]["description"]
    assert set(document["components"]["schemas"]["DatabaseChanges"]["properties"]) == {
        "size", "idle_timeout_seconds", "min_size", "max_size", "storage_limit_bytes", "deletion_protection",
        "history_seconds", "expires_at", "on_delete", "restore_to", "restore_trigger",
    }  # fmt: skip
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path.startswith("/v2/"):
                keyed = set() if path.startswith("/v2/downloads/") else {"400", "401"}  # whoever has no key yet may ask
                keyed -= {"401"} if path.endswith("/content") else set()  # and who has a link needs none
                assert {"404", "429", "500", "503"} | keyed <= operation["responses"].keys(), (method, path)
                assert operation["description"], (method, path)
            is_machine = path.startswith(("/v2/nodes/", "/v2/safekeepers/", "/v2/enrolment-tokens"))
            # Nobody declares a machine: it has no revision to be compared, and what is said of it twice is said once.
            # A link is computed and kept nowhere: asked for twice it is made twice.
            if method == "post" and not is_machine and not path.endswith("/link"):
                parameters = [p["name"] for p in operation["parameters"]]
                assert "Idempotency-Key" in parameters, path
            # Nobody declares one: it has no revision to be compared.
            is_machine = path.startswith(("/v2/nodes/", "/v2/safekeepers/", "/v2/exports/"))
            if method in ("patch", "delete") and not is_machine:
                assert "If-Match" in [p["name"] for p in operation["parameters"]], path
    scopes = [p for p in document["paths"]["/v2/tenants"]["get"]["parameters"] if p["name"] == "X-SPG99-Account"]
    assert scopes


async def test_health_readiness_and_metrics(api: Any, url: str) -> None:
    assert (await api.http.get("/healthz")).json() == {"status": "ok"}
    ready = await api.http.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["status"] == "degraded"
    assert "spg99 agent" in ready.json()["missing"][0]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "insert into nodes (node_id, name, token_sha256, last_seen_at) values ('node_a', 'a', 'h', clock_timestamp())"
        )
    assert (await api.http.get("/readyz")).json() == {"status": "ready", "missing": []}
    await api.tenant()
    await api.database()
    await api.call("GET", "/tenants/secretname")
    metrics = (await api.http.get("/metrics")).text
    assert 'spg99_http_requests_total{method="POST",route="/v2/tenants",status="201"} 1.0' in metrics
    assert 'spg99_http_requests_total{method="GET",route="/v2/tenants/{tenant}",status="404"} 1.0' in metrics
    assert 'spg99_databases{state="stopped"} 1.0' in metrics
    assert "spg99_outbox_pending" in metrics
    assert "secretname" not in metrics


async def test_readiness_names_missing_migrations(make_api: Any, cluster18: Any) -> None:
    url = cluster18.database()
    last = migrate.known()[-1]
    api = await make_api(url)
    await asyncio.to_thread(migrate.down, url, last.version - 1)
    answer = await api.http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["missing"][0] == f"The catalogue lacks {last}: run `spg99 migrate up`."


async def test_two_control_planes_on_one_catalogue_are_one(make_api: Any) -> None:
    one, two = await make_api(), await make_api()
    await one.tenant()
    await two.database()
    seen = [await plane.ok("GET", "/tenants/acme/dbs/app") for plane in (one, two)]
    assert seen[0]["db_id"] == seen[1]["db_id"]
    assert seen[0]["connection_string"] == seen[1]["connection_string"]
    made = await asyncio.gather(
        *(plane.call("POST", "/tenants/acme/dbs", {"name": "same"}) for plane in (one, two) * 3)
    )
    assert sorted(a.status_code for a in made) == [201] + [409] * 5
    # The other goes on when one ends in the middle of everything.
    one.app.state.plane.wakeups.close()
    assert (await two.ok("PATCH", "/tenants/acme/dbs/app", {"size": "L2"}))["size"] == "L2"
    operation = await two.ok("DELETE", "/tenants/acme", params={"cascade": "true"})
    assert (await two.ok("GET", f"/operations/{operation['op_id']}", params={"wait": 20}))["status"] == "succeeded"
