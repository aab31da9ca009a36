"""The same requests with the short way to a route and without it: to the byte the same answers, well or ill asked."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from spg99.config import ControlPlaneSettings
from spg99.control_plane import bootstrap, routes
from spg99.control_plane.identity.keys import new_token
from spg99.control_plane.records.secret_box import SecretBox
from spg99.control_plane.server import create_app
from spg99.control_plane.store import Store

GETS = (
    "/account", "/account?x=1", "/account/", "/keys", "/keys?limit=1", "/keys/key_none", "/keys/%00", "/operations/op_none", "/operations/op_none?wait=0",
    "/operations/op_none?wait=61", "/operations/op_none?wait=", "/declarations?state=", "/declarations?state=s", "/tenants", "/tenants?limit=1", "/tenants?limit=0",
    "/tenants?limit=1&limit=2", "/tenants?limit=+1", "/tenants?limit=1.0", "/tenants?limt=1", "/tenants?cursor=x", "/tenants?cursor=x&offset=1", "/tenants?offset=1&limit=500",
    "/tenants?state=active", "/tenants?state=ACTIVE", "/tenants?state=", "/tenants?name_prefix=ac", "/tenants?name_prefix=%00", "/tenants?name_prefix=a%20b",
    "/tenants/acme", "/tenants/acme?", "/tenants/acme?x", "/tenants/a%2Fb", "/tenants/%C3%A4", "/tenants/acme%0A", "/tenants//", "/tenants/acme/credentials",
    "/tenants/acme/dbs", "/tenants/acme/dbs?limit=1", "/tenants/acme/dbs?state=creating&limit=2&name_prefix=a", "/tenants/acme/dbs?state=none", "/tenants/none/dbs",
    "/tenants/acme/dbs/app", "/tenants/acme/dbs/app?wait=0&wait_for=settled", "/tenants/acme/dbs/app?wait_for=ready,idle", "/tenants/acme/dbs/app?wait_for=never",
    "/tenants/acme/dbs/app?wait=-1", "/tenants/acme/dbs/none", "/dbs/db_none", "/dbs/app", "/nowhere", "/tenants/acme/nothing",
)  # fmt: skip
WRITES = (
    ("POST", "/tenants", {"name": "acme"}), ("POST", "/tenants", {"name": "1"}), ("POST", "/tenants?x=1", {"name": "b"}), ("POST", "/tenants", None),
    ("PUT", "/tenants", {}), ("HEAD", "/tenants", None), ("OPTIONS", "/tenants", None), ("DELETE", "/tenants/none", None), ("DELETE", "/tenants/acme?cascade=maybe", None),
    ("DELETE", "/tenants/acme?cascade=false", None), ("DELETE", "/tenants/acme?cascade=0&uid=ten_other", None), ("PATCH", "/tenants/acme", {"name": "b"}), ("PATCH", "/tenants/acme/dbs/app", {"size": "L9"}),
    ("DELETE", "/tenants/acme/dbs/none?force=1", None), ("POST", "/tenants/acme/dbs", {"name": "app"}), ("POST", "/tenants/acme/dbs", {"nme": "app"}), ("POST", "/tenants/acme/dbs/none/stop", {}),
    ("PUT", "/idempotency-keys/acknowledged", {}), ("PATCH", "/account", {}),
)  # fmt: skip
KEYS: tuple[dict[str, str], ...] = (
    {}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "}, {"Authorization": "Basic x"}, {"Authorization": "Bearer unknown"}, {"Authorization": "bearer  TOKEN "},
    {"Authorization": "Bearer TOKEN", "X-SPG99-Account": "none"}, {"Authorization": "Bearer TOKEN", "X-SPG99-Account": "x" * 101}, {"Authorization": "Bearer TOKEN", "X-SPG99-Account": ""},
    {"Authorization": "Bearer TOKEN", "X-SPG99-Declared-By": "no sense"}, {"Authorization": "Bearer TOKEN", "X-SPG99-Account": "org_default"},
)  # fmt: skip


async def test_the_short_way_answers_what_the_framework_answers(
    store: Store, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, box = new_token(), SecretBox(b"k" * 32)
    await bootstrap.bootstrap(store, admin_token=token)
    settings = ControlPlaneSettings(data_dir=tmp_path)
    short = create_app(settings, store, box=box)
    monkeypatch.setattr(routes, "public", list)
    long = create_app(settings, store, box=box)

    async def asked(
        app: Any, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, bytes, dict[str, str]]:
        headers = {name: value.replace("TOKEN", token) for name, value in headers.items()} | {"X-Request-Id": "same"}
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.request(method, f"/v2{path}", json=body, headers=headers)
        return answer.status_code, answer.content, dict(answer.headers)

    admin = {"Authorization": "Bearer TOKEN"}
    for method, path, body in (("POST", "/tenants", {"name": "acme"}), ("POST", "/tenants/acme/dbs", {"name": "app"})):
        assert (await asked(short, method, path, body, admin))[0] == 201
    requests = [("GET", path, None, admin) for path in GETS]
    requests += [(*write, admin) for write in WRITES]
    requests += [("GET", "/tenants/acme", None, headers) for headers in KEYS]
    for request in requests:
        assert await asked(short, *request) == await asked(long, *request), request
    for app in (short, long):
        counted = app.state.plane.metrics.text().decode()
        assert 'spg99_http_requests_total{method="GET",route="/v2/tenants/{tenant}/dbs/{db}",status="200"}' in counted
