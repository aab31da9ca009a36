"""Places of a Gateway: whatever one tenant or one database does, others find one; what is given back is forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spg99.gateway.places import Limits, Places, refusal

Clients = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 2)), max_size=200)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 40), Clients)
def test_nobody_takes_all_places(
    per_tenant: int, per_database: int, places: int, clients: list[tuple[str, str, int]]
) -> None:
    limits = Limits(per_tenant, per_database, places)
    gateway, workers = Places(), [Places() for _ in range(3)]
    for tenant, database, number in clients:
        if refusal(limits, tenant, database, gateway=gateway, worker=workers[number]) is None:
            gateway.take(tenant, database)
            workers[number].take(tenant, database)
    for worker in workers:
        for count in (*worker.of_tenant.values(), *worker.of_database.values()):
            assert count < places
    assert all(count <= per_tenant for count in gateway.of_tenant.values())
    assert all(count <= per_database for count in gateway.of_database.values())


@given(Clients)
def test_what_is_given_back_is_forgotten(clients: list[tuple[str, str, int]]) -> None:
    places = Places()
    for tenant, database, _ in clients:
        places.take(tenant, database)
    for tenant, database, _ in reversed(clients):
        places.give_back(tenant, database)
    assert places == Places()


def test_the_sentence_names_the_limit_that_holds() -> None:
    def told(limits: Limits, held: int, database: str = "app") -> str:
        places = Places()
        for _ in range(held):
            places.take("ten_a", database)
        return refusal(limits, "ten_a", "app", gateway=places, worker=places) or ""

    assert "tenant may hold 3 through one gateway (policy gateway.tenant_connections_max)" in told(Limits(3, 9, 99), 3)
    assert 'database "app" may hold 3 through one gateway (policy gateway.database' in told(Limits(9, 3, 99), 3)
    assert "one database may hold 5 of the 10 places" in told(Limits(99, 99, 10), 5)
    assert "one tenant may hold 7 of the 10 places" in told(Limits(99, 99, 10), 7, "other")
    assert told(Limits(99, 99, 10), 4) == ""
