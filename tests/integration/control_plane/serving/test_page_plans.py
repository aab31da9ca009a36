"""A page of a list begins where the index says, also in a plan that PostgreSQL made before it knew the place (a generic plan, which a
prepared statement gets after some runs): else page 1,000 reads all the pages before it. Not here: what a page holds."""

from __future__ import annotations

import re

import psycopg
import pytest

from spg99.control_plane.store.queries import statement


@pytest.mark.parametrize(
    ("query", "index"), [("page_of_databases", "databases_by_name"), ("page_of_tenants", "tenants_by_name")]
)
def test_a_page_is_found_by_the_index_in_a_generic_plan(url: str, query: str, index: str) -> None:
    numbers: dict[str, str] = {}
    sql = re.sub(r"%\((\w+)\)s", lambda found: numbers.setdefault(found[1], f"${len(numbers) + 1}"), statement(query))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set enable_seqscan = off")  # an empty table would be read whole
        connection.execute("set enable_sort = off")
        plan = "\n".join(line for (line,) in connection.execute(f"explain (generic_plan) {sql}".encode()))
    assert index in plan, plan
    condition = plan.partition(index)[2].partition("Index Cond: ")[2].partition("\n")[0]
    assert re.search(r"\(ROW\(.*name.*\) > ROW\(", condition), f"the place is looked for among what was read:\n{plan}"
