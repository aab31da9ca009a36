"""What a safekeeper is called in a compute: the same in the messages and in the library that keeps tenants from it."""

from __future__ import annotations

import re
from pathlib import Path

from spg99.ids import new_id
from spg99.protocol.safekeeper import ROLE, STANDBY_PREFIX, standby_name

HEADER = Path(__file__).resolve().parents[3] / "provider" / "tenant_rules" / "kept_commits.h"


def test_the_library_knows_the_same_names() -> None:
    defined = dict(re.findall(r'^#define (SPG99_\w+) "(.*)"$', HEADER.read_text(), flags=re.MULTILINE))
    assert defined == {"SPG99_SAFEKEEPER_ROLE": ROLE, "SPG99_SAFEKEEPER_PREFIX": STANDBY_PREFIX}


def test_every_safekeeper_is_called_so_and_each_differently() -> None:
    ids = [new_id("sk") for _ in range(3)]
    names = {standby_name(one) for one in ids}
    assert len(names) == 3
    assert all(name.startswith(STANDBY_PREFIX) and re.fullmatch(r"[a-z0-9_]{1,63}", name) for name in names)
