"""docs/conformance.md from what a test run said (`--junitxml`). Here: counting and tables. Not here: claims (checklist.py, shown_by.py).

`python -m tests.behaviours RESULT.xml [MORE.xml ...]` writes the page; a behaviour without a passed test is not called shown.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.behaviours import checklist, shown_by

BRIDGES = ("dynamic", "native", "terraform", "opentofu")
PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "conformance.md"
PEER_COLUMNS = ("Neon (community)", "Supabase", "Timescale", "Aiven", "PlanetScale", "CockroachDB")
PEER_ROWS: dict[str, tuple[str, ...]] = {
    "resources / data sources": ("11 / 5", "7 / 4", "7 / 3", "85 / 79", "11 / 24", "29 / 9"),
    "import documented": ("11 of 11", "7 of 7", "0 of 7 (7 in code)", "84 of 85", "11 of 11", "27 of 29"),
    "ephemeral resources": ("0", "0", "0", "0", "0", "0"),
    "write-only arguments": ("0", "0", "1", "8", "0", "0"),
    "provider functions": ("0", "0", "0", "0", "0", "0"),
    "identity, list resources": ("no", "no", "no", "no", "no", "no"),
    "timeouts on every resource": ("no", "3 of 7", "2 of 7", "yes", "no", "no (fixed ones)"),
    "deletion protection": ("no", "no", "no", "yes", "branch", "yes"),
    "protection seen in the plan": ("no", "no", "no", "-", "-", "-"),
    "replacement of data refused": ("no (issue 83)", "-", "-", "-", "-", "-"),
    "deleted outside: planned again": (
        "error (issue 209)",
        "-",
        "error (issue 288)",
        "error (issue 841)",
        "-",
        "-",
    ),
    "a second apply changes nothing": ("no (issues 83, 149, 179)", "-", "-", "-", "no (issue 331)", "-"),
    "another form of a value is no error": (
        "-",
        "error (issues 202, 336)",
        "-",
        "-",
        "error (issues 135, 144, 145)",
        "error (issues 113, 152, 263)",
    ),
    "password rotated in place": ("-", "no (issue 90)", "no (issue 210)", "-", "-", "-"),
    "state upgraders": ("0", "0", "2 files", "10 files", "0", "0"),
    "actions (Terraform 1.14)": ("0", "0", "0", "0", "0", "0"),
    "native Pulumi provider": (
        "no (a community package)",
        "an old one (community)",
        "no",
        "bridged",
        "no",
        "no (a community package)",
    ),
}
"""From the fact sheet (sections 4.4 and 4.5, stored copies of August 2026; issues are what users reported). `-`: not known."""


@dataclass
class Results:
    """What a run said of every test, by `file.py::function`, bridge and outcome."""

    counts: dict[str, dict[str, Counter[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(Counter))
    )
    skipped: Counter[str] = field(default_factory=Counter)

    @classmethod
    def read(cls, files: Iterable[Path]) -> Results:
        """The results in these JUnit files."""
        results = cls()
        for file in files:
            for case in ET.parse(file).getroot().iter("testcase"):
                results._add(case)
        return results

    def _add(self, case: ET.Element) -> None:
        where = case.get("classname", "")
        function, _, parameters = case.get("name", "").partition("[")
        skipped = case.find("skipped")
        outcome = (
            "failed"
            if case.find("failure") is not None or case.find("error") is not None
            else "skipped"
            if skipped is not None
            else "passed"
        )
        if skipped is not None:
            self.skipped[re.sub(r"\s+", " ", skipped.get("message", ""))] += 1
        file = next((part for part in reversed(where.split(".")) if part.startswith("test_")), where)
        if file.startswith("test_every_noun_"):
            file = "suite"  # one suite, a module for each bridge
        self.counts[f"{file}.py::{function}"][bridge_of(where, parameters)][outcome] += 1

    def of(self, tests: Iterable[str]) -> dict[str, Counter[str]]:
        """By bridge, what these tests said together."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for test in tests:
            for bridge, counts in self.counts.get(test, {}).items():
                found[bridge] += counts
        return found


def bridge_of(where: str, parameters: str) -> str:
    """The bridge a test speaks of: by its parameters, else by its folder; empty where it is for all."""
    for name, bridge in (("tofu", "opentofu"), *((bridge, bridge) for bridge in BRIDGES)):
        if name in parameters.lower():
            return bridge
    for bridge in ("opentofu", "terraform", "native", "dynamic"):
        if bridge in where:
            return bridge
    return ""


def cell(counts: Counter[str] | None) -> str:
    """What a table says of some tests."""
    if not counts:
        return ""
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped") if counts[outcome])


def _checklist(
    title: str, says: Mapping[int, str], shown: Mapping[int, tuple[str, ...] | str], results: Results
) -> list[str]:
    lines = [
        f"## {title}",
        "",
        f"| | behaviour | test | all | {' | '.join(BRIDGES)} |",
        "|---|---|---|---|" + "---|" * len(BRIDGES),
    ]
    done = 0
    for number, sentence in says.items():
        claim = shown.get(number, "not yet shown by a test")
        if isinstance(claim, str):
            lines.append(f"| {number} | {sentence} | *{claim}* | | " + " | ".join("" for _ in BRIDGES) + " |")
            continue
        found = results.of(claim)
        ran = all(any(counts["passed"] for counts in results.of([test]).values()) for test in claim)
        done += ran and not any(counts["failed"] for counts in found.values())
        tests = "<br>".join(f"`{test}`" for test in claim)
        cells = " | ".join(cell(found.get(bridge)) for bridge in BRIDGES)
        lines.append(f"| {number} | {sentence} | {tests} | {cell(found.get(''))} | {cells} |")
    return [*lines, "", f"{done} of {len(says)} shown: every test that is named ran, and none failed.", ""]


def _peers(results: Results) -> list[str]:
    lines = [
        "## Peers",
        "",
        "What the providers of other PostgreSQL platforms offer (stored copies of August 2026), and what ours does. Each of our cells names its test.",
        "",
        f"| | **SPG99** | {' | '.join(PEER_COLUMNS)} |",
        "|---|---|" + "---|" * len(PEER_COLUMNS),
    ]
    for row, cells in PEER_ROWS.items():
        tests = shown_by.PEERS.get(row, ())
        passed = bool(tests) and all(any(c["passed"] for c in results.of([test]).values()) for test in tests)
        failed = sum(counts["failed"] for counts in results.of(tests).values())
        ours = "yes: " + ", ".join(f"`{test}`" for test in tests) if passed and not failed else "not shown"
        lines.append(f"| {row} | {ours} | {' | '.join(cells)} |")
    return [*lines, ""]


def page(results: Results) -> str:
    """The whole page."""
    total: Counter[str] = Counter()
    for bridges in results.counts.values():
        for counts in bridges.values():
            total += counts
    lines = [
        "# Conformance",
        "",
        "Written by `make conformance-report` from a test run; not edited by hand. What each bridge does, and which test shows it.",
        "",
        f"This run: {cell(total)}.",
        "",
        *_checklist("Terraform: 70 behaviours", checklist.TERRAFORM, shown_by.TERRAFORM, results),
        *_checklist("Pulumi: 58 behaviours", checklist.PULUMI, shown_by.PULUMI, results),
        *_peers(results),
        "## Skipped in this run",
        "",
        *(f"- {count} × {reason}" for reason, count in sorted(results.skipped.items())),
        "",
    ]
    return "\n".join(lines)
