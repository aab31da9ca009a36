"""Which passwords may be brought: those that every client sends in the same bytes, whether it prepares them or not."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from spg99.resources.tenant_credentials import TenantCredentialsSpec
from spg99.rules import password_is_sent_alike
from spg99.saslprep import saslprepped
from spg99.wire.scram import build_verifier, parse_verifier, saslprep

ALIKE = [
    "correct horse 1",
    "corréct hörse",
    "пароль-длинный",
    "密码密码密码密码密码密码",
    "سلامسلامسلام",
    "~!@#$%^&*()_+ {}",
]
CHANGED = {
    "soft hyphen": "correct\u00adhorse",
    "roman numeral": "correct horse \u2168",
    "no-break space": "correct\u00a0horse",
    "decomposed": "corre\u0301ct horse",
    "full width": "ｃorrect horse",
    "ligature": "correct ﬁrst",
    "zero width joiner": "correct\u200dhorse",
    "variation selector": "correct\ufe0fhorse",
}
PROHIBITED = {
    "control": "correct\u0007horse",
    "delete": "correct\u007fhorse",
    "C1 control": "correct\u0085horse",
    "private use": "correct\ue000horse",
    "unassigned in Unicode 3.2": "correct \u0221 horse",
    "emoji": "correct 🐎 horse",
    "mixed directions": "\u0627correct horse",
    "ends in the other direction": "\u0627\u0628 correct 1",
    "tagging": "correct\U000e0041horse",
    "only what vanishes": "\u00ad" * 12,
    "replacement": "correct\ufffdhorse",
    "line separator": "correct\u2028horse",
}


def problem(password: str) -> str | None:
    return password_is_sent_alike({"pg_password": password})


@pytest.mark.parametrize("password", ALIKE)
def test_taken(password: str) -> None:
    assert problem(password) is None
    assert TenantCredentialsSpec(tenant="acme", pg_password=password).pg_password == password


@pytest.mark.parametrize("name", CHANGED)
def test_changed_by_saslprep(name: str) -> None:
    found = problem(CHANGED[name])
    assert found is not None
    assert found.startswith("pg_password: ")
    assert "changes" in found
    assert CHANGED[name] not in found, "a password is never repeated"
    assert problem(saslprepped(CHANGED[name]) or "") is None, "its prepared form is taken"


@pytest.mark.parametrize("name", PROHIBITED)
def test_prohibited_by_saslprep(name: str) -> None:
    assert "prohibits" in (problem(PROHIBITED[name]) or "")
    with pytest.raises(ValidationError):
        TenantCredentialsSpec(tenant="acme", pg_password=PROHIBITED[name])


def test_null_leaves_the_password_as_it_is() -> None:
    assert password_is_sent_alike({"pg_password": None}) is None


@given(password=st.text(min_size=1, max_size=20).filter(lambda text: "\0" not in text))
def test_what_is_taken_is_the_same_to_libpq_and_to_one_who_does_not_prepare(password: str) -> None:
    if not password.isprintable() or any("\ud800" <= c <= "\udfff" for c in password) or problem(password) is not None:
        return
    assert saslprep(password) == password
    connection = psycopg.pq.PGconn.connect_start(b"host=/nowhere")
    theirs = connection.encrypt_password(password.encode(), b"someone", b"scram-sha-256").decode()
    salt = parse_verifier(theirs).salt
    assert build_verifier(password, salt=salt) == theirs


@given(password=st.text(max_size=30))
def test_preparing_twice_is_preparing_once(password: str) -> None:
    prepared = saslprepped(password)
    if prepared is not None and saslprepped(prepared) is not None:
        assert saslprepped(prepared) == prepared
