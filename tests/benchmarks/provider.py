"""What the dynamic provider itself costs per resource: one call at a time, as the engine sees it."""

from __future__ import annotations

import os

from tests.benchmarks.engine import project, timed
from tests.benchmarks.table import Table, mid, ms

from kit.platform import a_platform
from spg99.engine.operations import run_up


def run(*, quick: bool = False) -> list[Table]:
    """The provider's share of section 11's engine figures."""
    count = 10 if quick else 100
    table = Table(
        f"The dynamic provider's share: an up without changes over {count} resources, one at a time",
        ("whole run, per resource", "Check", "Diff", "in the provider, per resource"),
    )
    with a_platform() as platform:
        (platform.data_dir / "state").mkdir()
        folder = platform.data_dir / "share"
        project(folder, count)
        timed(platform, folder, "stack", "init", "share")
        timed(platform, folder, "config", "set", "count", str(count), "--stack", "share")
        timed(platform, folder, "up", "--yes", "--stack", "share")
        environment = {**os.environ, **platform.env, "PULUMI_CONFIG_PASSPHRASE": "bench"}
        backend = f"file://{platform.data_dir}/state"
        result = run_up(folder, "share", backend_url=backend, env=environment, parallel=1)
        assert result.ok, result.failures
        timed(platform, folder, "destroy", "--yes", "--stack", "share")
    calls: dict[str, list[float]] = {}
    for method, seconds in result.provider_calls:
        calls.setdefault(method, []).append(seconds)
    provider = mid(calls["Check"]) + mid(calls["Diff"])
    table.add(
        ms(result.seconds / count),
        ms(mid(calls["Check"])),
        ms(mid(calls["Diff"])),
        f"{ms(provider)} (goal <= 3 ms: {'met' if provider <= 0.003 else 'missed'})",
    )
    table.notes.append(
        "The rest is the Pulumi SDK in the program's process (some 10 ms of CPU for each resource) and the engine."
    )
    return [table]
