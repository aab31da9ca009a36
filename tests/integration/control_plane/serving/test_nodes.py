"""`/nodes` for operators: who may, what is shown, what a removal is refused for, and who is let in afterwards."""

from __future__ import annotations

import asyncio
from typing import Any, get_args

import psycopg
import pytest
from cryptography import x509

from spg99.client import InternalClient
from spg99.control_plane.fleet import EnrolmentKind
from spg99.errors import Unauthorized
from spg99.ids import new_id
from spg99.protocol import Enrolment, Identity
from spg99.protocol.certificates import CertificateRequest
from spg99.protocol.node import Heartbeat
from spg99.tls import authority


async def enrolled(api: Any, kind: str = "node", name: str = "alpha") -> tuple[Identity, InternalClient]:
    """One that has joined with a token of the API."""
    answer = await api.call("POST", "/enrolment-tokens", {"kind": kind})
    assert answer.status_code == 201, answer.text
    client = InternalClient(api.base_url + "/v2", None)
    enrolment = Enrolment(enrolment_token=answer.json()["enrolment_token"], name=name)
    identity = await getattr(client, f"enroll_{kind}")(enrolment)
    client.authenticate(identity.bearer_token)
    return identity, client


def lie_on(url: str, node_id: str, *, configuration: str | None) -> None:
    """A database whose files are on this node, as the catalogue knows it."""
    with psycopg.connect(url, autocommit=True) as catalogue:
        timeline_id, db_id = new_id("tl"), new_id("db")
        (tenant_id,) = catalogue.execute("select tenant_id from tenants where name = 'acme'").fetchone() or ("",)
        with catalogue.transaction():
            catalogue.execute("set constraints all deferred")
            catalogue.execute(
                "insert into timelines (timeline_id, db_id, state, node_id, configuration) values (%s, %s, 'present', %s, %s)",
                (timeline_id, db_id, node_id, configuration),
            )
            catalogue.execute(
                "insert into databases (db_id, tenant_id, name, size, idle_timeout_seconds, state, timeline_id, target_profile)"
                " values (%s, %s, 'app', 'L1', 300, 'stopped', %s, 'L1')",
                (db_id, tenant_id, timeline_id),
            )


async def test_only_who_administers_the_platform_sees_and_changes_nodes(api: Any) -> None:
    calls = [("GET", "/nodes"), ("GET", "/nodes/alpha"), ("POST", "/nodes/alpha/drain"), ("POST", "/nodes/alpha/cordon"),
             ("POST", "/nodes/alpha/uncordon"), ("DELETE", "/nodes/alpha"), ("POST", "/enrolment-tokens")]  # fmt: skip
    account = await api.key(scope="account")
    for method, path in calls:
        answer = await api.call(method, path, token=account)
        assert answer.status_code == 403, (method, path, answer.text)
        assert answer.json()["error"] == "Forbidden"


async def test_a_node_is_listed_cordoned_drained_and_removed(api: Any) -> None:
    identity, client = await enrolled(api)
    await client.heartbeat(
        Heartbeat(computes=[], disk_total_bytes=100, disk_free_bytes=60, network_address="10.0.0.5:7654")
    )
    (node,) = (await api.call("GET", "/nodes")).json()["items"]
    assert (node["name"], node["status"], node["silent"], node["disk_free_bytes"]) == ("alpha", "active", False, 60)
    assert node["network_address"] == "10.0.0.5:7654" and node["node_id"] == identity.identity_id
    for word, status in (("cordon", "cordoned"), ("uncordon", "active"), ("drain", "draining"), ("drain", "draining")):
        answer = await api.call("POST", f"/nodes/alpha/{word}")
        assert answer.status_code == 200 and answer.json()["status"] == status
    assert (await api.call("GET", f"/nodes/{identity.identity_id}")).json()["status"] == "draining"
    issued = await client.node_certificate(CertificateRequest(request=authority.make_request(identity.identity_id)[1]))
    assert "BEGIN CERTIFICATE" in issued.certificate
    assert (await api.call("DELETE", "/nodes/alpha")).status_code == 204
    assert (await api.call("GET", "/nodes")).json()["items"] == []
    assert (await api.call("GET", "/nodes/alpha")).status_code == 404
    # Its name is free; whoever takes it is another, and the others are told not to let the former one in.
    other, other_client = await enrolled(api)
    assert other.identity_id != identity.identity_id
    answer = await other_client.heartbeat(Heartbeat(computes=[], network_address="10.0.0.6:7654"))
    assert answer.revoked_ids == [identity.identity_id]
    await client.aclose()
    late = InternalClient(api.base_url + "/v2", identity.bearer_token)
    with pytest.raises(Unauthorized):
        await _refused_soon(late)
    await late.aclose()
    await other_client.aclose()


async def _refused_soon(client: InternalClient) -> None:
    """An identity that was right is believed for a few seconds more."""
    async with asyncio.timeout(20):
        while True:
            await client.heartbeat(Heartbeat(computes=[]))
            await asyncio.sleep(0.2)


async def test_a_removal_is_refused_while_it_would_lose_something(api: Any, url: str) -> None:
    identity, client = await enrolled(api)
    await client.heartbeat(Heartbeat(computes=[]))
    answer = await api.call("DELETE", "/nodes/alpha")
    assert answer.status_code == 409 and "Drain it first" in answer.json()["message"]
    await api.call("POST", "/tenants", {"name": "acme"})
    lie_on(url, identity.identity_id, configuration=None)
    await api.call("POST", "/nodes/alpha/drain", {"ends_sessions": True})
    answer = await api.call("DELETE", "/nodes/alpha")
    assert answer.status_code == 409
    assert "only copy of 1 database(s) without safekeepers (acme/app)" in answer.json()["message"]
    assert answer.json()["details"]["only_copies"] == 1
    assert (await api.call("GET", "/nodes/alpha")).json()["only_copies"] == 1
    await client.aclose()


async def test_what_safekeepers_keep_holds_no_node(api: Any, url: str) -> None:
    identity, client = await enrolled(api)
    await client.heartbeat(Heartbeat(computes=[]))
    await api.call("POST", "/tenants", {"name": "acme"})
    lie_on(
        url, identity.identity_id, configuration='{"number": 1, "members": {"safekeeper_ids": ["sk_1"], "quorum": 1}}'
    )
    await api.call("POST", "/nodes/alpha/drain")
    assert (await api.call("DELETE", "/nodes/alpha")).status_code == 204
    await client.aclose()


async def test_a_certificate_is_of_who_asks_and_of_the_same_authority_everywhere(api: Any) -> None:
    request = CertificateRequest(request=authority.make_request("node_somebody_else")[1])
    authorities = set()
    kinds = get_args(EnrolmentKind)
    for kind, another in zip(kinds, (*kinds[1:], kinds[0]), strict=True):
        identity, client = await enrolled(api, kind)
        issued = await getattr(client, f"{kind}_certificate")(request)
        authorities.add(issued.authority)
        name = x509.load_pem_x509_certificate(issued.certificate.encode()).subject.rfc4514_string()
        assert name == f"CN={identity.identity_id}"
        with pytest.raises(Unauthorized):
            await getattr(client, f"{another}_certificate")(request)
        await client.aclose()
    assert len(authorities) == 1


@pytest.mark.parametrize("kind", ["safekeeper", "pageserver"])
async def test_whose_place_another_takes_is_let_in_nowhere_any_more(api: Any, kind: str) -> None:
    """It may still have a certificate of the identity that it had."""
    former, former_client = await enrolled(api, kind)
    later, later_client = await enrolled(api, kind)
    assert later.identity_id != former.identity_id
    _, node = await enrolled(api)
    answer = await node.heartbeat(Heartbeat(computes=[], network_address="10.0.0.6:7654"))
    assert answer.revoked_ids == [former.identity_id]
    for client in (former_client, later_client, node):
        await client.aclose()
