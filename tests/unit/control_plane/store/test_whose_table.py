"""A table belongs to one domain, and no domain reads another's: every queries.sql is read, and every use of a query."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from spg99.control_plane.store import queries

CONTROL_PLANE = Path(queries.__file__).parents[1]

OWNER = {
    "api_keys": "identity",
    "organizations": "identity",
    "projects": "tenants",
    "tenants": "tenants",
    "computes": "databases",
    "databases": "databases",
    "leases": "databases",
    "organization_usage": "databases",
    "certificate_authorities": "fleet",
    "snapshots": "databases",
    "exports": "databases",
    "snapshot_schedules": "databases",
    "enrolment_tokens": "fleet",
    "gateways": "fleet",
    "node_tasks": "fleet",
    "nodes": "fleet",
    "pageservers": "fleet",
    "revoked_identities": "fleet",
    "safekeepers": "fleet",
    "installation": "storage",
    "stored_tenants": "storage",
    "timelines": "storage",
    "timeline_pins": "storage",
    "audit_logs": "records",
    "declarations": "records",
    "idempotency_keys": "records",
    "operations": "records",
    "outbox_events": "records",
    "policy_definitions": "records",
    "policy_values": "records",
    "schema_migrations": "store",
}
"""Whose each table is. A new table gets its line here."""

_ROW_AND_OWNER = "a database is always read with its tenant's names, in one statement, on the path of every connect"
_ACCOUNT = "sums over an account, whose databases are found by their tenants; one statement, or it would sum what moves"
_SNAPSHOT = "a snapshot is shown, and its end told, with the names of its tenant and account; one statement"
_SCHEDULE = "a schedule is shown, and what it does told, with the names of its tenant and account; one statement"
_KEY = "a key is shown and checked with the name of the tenant it is bound to; one look-up on the path of every request"
_FILES = "a node reports by timeline; thousands of databases are found by theirs in one statement"

_NODE = "with the compute's address goes its node's, at which other machines reach it; on the path of every connect"
_DESCRIBED = "what the store says and what is so are compared in one snapshot, and no change has to tell"

READS_OF_OTHERS: dict[tuple[str, str], str] = {
    ("find_snapshot", "tenants"): _SNAPSHOT,
    ("find_export", "tenants"): _SNAPSHOT,
    ("lock_export", "tenants"): _SNAPSHOT,
    ("page_of_exports", "tenants"): _SNAPSHOT,
    ("exports_of_tenant", "tenants"): _SNAPSHOT,
    ("page_of_snapshots", "tenants"): _SNAPSHOT,
    ("snapshots_of_tenant", "tenants"): _SNAPSHOT,
    ("snapshots_of_ids", "tenants"): _SNAPSHOT,
    ("expired_snapshots", "tenants"): _SNAPSHOT,
    ("snapshots_of_schedule", "tenants"): _SNAPSHOT,
    ("snapshots_to_verify", "tenants"): _SNAPSHOT,
    ("note_verified", "tenants"): _SNAPSHOT,
    (
        "snapshots_of_schedule",
        "timelines",
    ): "whether something is about to begin in one of them, in the statement that locks them",
    ("find_schedule", "tenants"): _SCHEDULE,
    ("page_of_schedules", "tenants"): _SCHEDULE,
    ("schedules_of_tenant", "tenants"): _SCHEDULE,
    ("schedules_of_database", "tenants"): _SCHEDULE,
    ("claim_schedules", "tenants"): _SCHEDULE,
    ("claimed_schedule", "tenants"): _SCHEDULE,
    ("find_database", "tenants"): _ROW_AND_OWNER,
    ("find_database_by_id", "tenants"): _ROW_AND_OWNER,
    ("page_of_databases", "tenants"): _ROW_AND_OWNER,
    ("find_database", "nodes"): _NODE,
    ("find_database_by_id", "nodes"): _NODE,
    ("page_of_databases", "nodes"): "the same columns as one that is read alone",
    ("page_of_moments", "tenants"): _ROW_AND_OWNER,
    ("page_of_moments", "nodes"): "the same columns as a database that is read alone",
    (
        "lock_database_of_name",
        "tenants",
    ): "a database of a tenant on its way out is not found: one statement, one snapshot",
    (
        "databases_of_timelines",
        "tenants",
    ): "the account names the policies of a history; one statement for all of a heartbeat",
    (
        "storage_of_computes",
        "tenants",
    ): "the account names the policy of the limit; one statement for all of a heartbeat",
    ("count_databases_of_organization", "tenants"): _ACCOUNT,
    ("usage_of_organization", "organizations"): _ACCOUNT,
    ("usage_of_organization", "tenants"): _ACCOUNT,
    ("keep_usage_of_database", "tenants"): _ACCOUNT,
    (
        "database_surroundings",
        "timelines",
    ): "everything a decision looks at, in one snapshot and one round trip of a wake-up",
    ("database_surroundings", "nodes"): "as above",
    ("database_surroundings", "node_tasks"): "as above",
    ("reconcile_databases_of_node", "timelines"): _FILES,
    ("reconcile_homeless_databases", "timelines"): _FILES,
    ("note_storage", "timelines"): _FILES,
    ("reconcile_running_of_node", "timelines"): _FILES,
    ("reconcile_databases_of_silent_nodes", "timelines"): _FILES,
    ("reconcile_databases_of_silent_nodes", "nodes"): "who is silent and what waits for it, in one statement",
    ("what_lies_on_node", "timelines"): "whether a node may be removed is one question, with one snapshot",
    ("what_lies_on_node", "tenants"): "as above: the answer names some of them",
    ("databases_kept_by", "timelines"): "whether a safekeeper may be removed is one question, with one snapshot",
    ("databases_kept_by", "tenants"): "as above: the answer names them",
    ("databases_to_describe", "timelines"): _DESCRIBED,
    ("databases_to_describe", "nodes"): _DESCRIBED,
    ("tenants_to_describe", "tenants"): _DESCRIBED,
    ("tenants_to_describe", "stored_tenants"): _DESCRIBED,
    (
        "tenants_to_shred",
        "tenants",
    ): "what belongs to a tenant that is there is never removed, whatever was noted; one statement's snapshot",
    ("key_by_token", "tenants"): _KEY,
    ("key_by_id", "tenants"): _KEY,
    ("page_of_keys", "tenants"): _KEY,
    (
        "ended_tenants",
        "databases",
    ): "the last database and its tenant go by one statement's snapshot; a foreign key is behind it",
    (
        "forget_computes",
        "timelines",
    ): "computes of a timeline that was never started are kept; one statement's snapshot",
    ("forget_timelines", "computes"): "a timeline that a compute still names cannot go: a foreign key of the catalogue",
    ("policy_value", "organizations"): "the plan of an account decides which value is the most specific",
    ("policy_values", "organizations"): "as above",
}
"""All exceptions, with their reasons: (query, table of another domain). Each only reads; a line nobody needs is an error."""

_NAMED = re.compile(
    r"\b(from|join|into|update|using|delete\s+from)\s+(?:only\s+|lateral\s+)?([a-z_]+)\b(?!\s*\()", re.I
)
_WRITTEN = re.compile(r"\b(?:insert\s+into|update|delete\s+from)\s+([a-z_]+)\b", re.I)


def without_comments(sql: str) -> str:
    return re.sub(r"--[^\n]*", "", sql)


def tables_of(sql: str) -> set[str]:
    return {name for _, name in _NAMED.findall(without_comments(sql)) if name in OWNER}


def written_by(sql: str) -> set[str]:
    # `for update of d`, `for no key update`, `do update set`, `on conflict` name no table after "update".
    return {name for name in _WRITTEN.findall(without_comments(sql)) if name in OWNER}


def foreign() -> dict[tuple[str, str], str]:
    """(query, table) -> domain of the query, wherever the table is another's."""
    return {
        (name, table): domain
        for domain, found in queries.by_domain().items()
        for name, sql in found.items()
        for table in tables_of(sql)
        if OWNER[table] != domain
    }


def test_every_table_of_the_catalogue_has_an_owner() -> None:
    created: set[str] = set()
    for path in sorted((CONTROL_PLANE / "store" / "migrations").glob("*.up.sql")):
        text = without_comments(path.read_text())
        created |= set(re.findall(r"^create table (?:if not exists )?([a-z_]+)\b(?! partition)", text, re.M))
        created -= set(re.findall(r"^drop table (?:if exists )?([a-z_]+)", text, re.M))
    assert created - {"audit_logs_default"} == set(OWNER) - {"schema_migrations"}
    assert set(OWNER.values()) == set(queries.by_domain())


def test_no_domain_reads_anothers_tables_but_for_the_reasons_written_here() -> None:
    found = foreign()
    assert sorted(found.keys() - READS_OF_OTHERS.keys()) == [], "offer a function in the owner's __init__ instead"
    assert sorted(READS_OF_OTHERS.keys() - found.keys()) == [], "nobody needs these exceptions any more"


def test_no_domain_writes_anothers_tables() -> None:
    found = [
        (name, table)
        for domain, queries_of in queries.by_domain().items()
        for name, sql in queries_of.items()
        for table in written_by(sql)
        if OWNER[table] != domain
    ]
    assert found == []


RUNS_A_QUERY = ("one", "one_or_none", "many", "value", "execute", "defer", "join", "known")
"""Methods of a transaction; functions of fleet/joining.py, which take a query of each kind."""


def uses() -> list[tuple[Path, str]]:
    """Every named query that is run somewhere, and the file."""
    found = []
    for path in sorted(CONTROL_PLANE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if is_call and node.func.attr in RUNS_A_QUERY:
                named = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                found += [(path.relative_to(CONTROL_PLANE), name) for name in named]
    return found


def test_a_query_is_run_by_its_own_domain_and_none_is_dead() -> None:
    of = {name: domain for domain, found in queries.by_domain().items() for name in found}
    used = [(path, name) for path, name in uses() if name in of]
    assert [(str(path), name) for path, name in used if path.parts[0] != of[name]] == []
    assert of.keys() - {name for _, name in used} == set()


@pytest.mark.parametrize(
    ("sql", "tables", "written"),
    [
        ("select * from databases d join tenants t using (tenant_id)", {"databases", "tenants"}, set()),
        ("delete from leases l using computes c where true", {"leases", "computes"}, {"leases"}),
        ("-- from nodes\ninsert into operations select 1 from api_keys", {"operations", "api_keys"}, {"operations"}),
        ("update databases d set x = 1 from timelines t", {"databases", "timelines"}, {"databases"}),
        ("select 1 from databases for no key update of d", {"databases"}, set()),
        ("with gone as (delete from node_tasks returning 1) select from gone", {"node_tasks"}, {"node_tasks"}),
    ],
)
def test_the_reader_of_sql_sees_every_table(sql: str, tables: set[str], written: set[str]) -> None:
    assert tables_of(sql) == tables
    assert written_by(sql) == written
