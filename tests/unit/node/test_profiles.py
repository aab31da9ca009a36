"""Settings of computes: what every size promises, and what holds for all."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from spg99.node.profiles import PROFILES, TENANT_RULES_NAME, compute_settings
from spg99.node.storage_rules import bounds
from spg99.resources import Size

WITHIN = bounds(0, wal_bytes_max=256 << 20, disk_total_bytes=1 << 40)


def settings(size: Size) -> dict[str, str]:
    return compute_settings(
        size, compute_id="cmp_1", hba_file=Path("/n/pg_hba.conf"), extensions_dir=Path("/n/ext"), within=WITHIN
    )


@pytest.mark.parametrize("size", list(Size))
def test_a_size_keeps_the_promise_of_its_docstring(size: Size) -> None:
    """The docstrings of resources/database.py are what users read."""
    source = (Path(__file__).parents[3] / "provider/spg99/resources/database.py").read_text()
    promise = re.search(rf'{size} = "{size}"\n    """(\d+) (MB|GB) of memory, (\d+) connections', source)
    assert promise is not None
    memory_mb = int(promise[1]) * (1024 if promise[2] == "GB" else 1)
    assert (PROFILES[size].memory_mb, PROFILES[size].max_connections) == (memory_mb, int(promise[3]))


@pytest.mark.parametrize("size", list(Size))
def test_the_parts_fit_into_the_memory(size: Size) -> None:
    profile = PROFILES[size]
    all_sorting_mb = profile.max_connections * profile.work_mem_kb / 1024
    assert profile.shared_buffers_mb + profile.maintenance_work_mem_mb <= profile.memory_mb / 2
    assert profile.shared_buffers_mb + all_sorting_mb / 2 <= profile.memory_mb


def test_bigger_is_never_less() -> None:
    sizes = [PROFILES[size] for size in Size]
    for smaller, bigger in itertools.pairwise(sizes):
        for field in smaller.__dataclass_fields__:
            assert getattr(smaller, field) <= getattr(bigger, field), field


@pytest.mark.parametrize("size", list(Size))
def test_nothing_that_keeps_data_is_ever_off(size: Size) -> None:
    given = settings(size)
    assert (given["fsync"], given["full_page_writes"], given["restart_after_crash"]) == ("on", "on", "off")
    assert given["allow_alter_system"] == "off" and given["superuser_reserved_connections"] == "0"
    assert "synchronous_commit" not in given or given["synchronous_commit"] == "on"


def test_a_compute_can_be_told_from_its_command_line() -> None:
    given = settings(Size.L1)
    assert given["cluster_name"] == "cmp_1"
    assert given["hba_file"] == "/n/pg_hba.conf"
    assert given["extension_control_path"] == "/n/ext:$system"


def test_paths_that_postgresql_would_part(tmp_path: Path) -> None:
    """A quote in the path of a library is doubled; a colon in the path of extensions cannot be, so none is named."""
    for name, has_extensions in (('a "b" c', True), ("a:b", False), ("a, 'b'", True)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / TENANT_RULES_NAME).touch()
        given = compute_settings(
            Size.L1, compute_id="cmp_1", hba_file=folder / "hba", extensions_dir=folder, within=WITHIN
        )
        assert ("extension_control_path" in given) is has_extensions
        loaded = given["shared_preload_libraries"]
        assert loaded[0] == loaded[-1] == '"'
        assert loaded[1:-1].replace('""', '"') == str(folder / TENANT_RULES_NAME)
        assert '"' not in loaded[1:-1].replace('""', "")
