"""The sh launcher of the zips: which Python it starts, and where compiled files of that Python may come from."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[4]
PYTHON = '#!/bin/sh\ncase "$*" in *" -c "*) echo 3.15 ;; *) echo "$@" ;; esac\n'


def dist() -> Any:
    """scripts/dist.py, as a module."""
    spec = importlib.util.spec_from_file_location("dist", ROOT / "scripts" / "dist.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def launcher(tmp_path: Path) -> Path:
    """A launcher beside a folder of programs: a Python that nothing is compiled for, and what else it needs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").write_text(PYTHON)
    (programs / "python3").chmod(0o755)
    (programs / "mkdir").symlink_to(shutil.which("mkdir") or "/bin/mkdir")
    path = tmp_path / "terraform-provider-spg99"
    path.write_text(dist().LAUNCHER.format(compiled="3.11", names="python3.11 python3.12", version="1.2.3"))
    path.chmod(0o755)
    return path


def started(launcher: Path, **environment: str) -> list[str]:
    """The arguments that Python is started with."""
    done = subprocess.run(
        [launcher],
        env={"PATH": str(launcher.parent / "bin"), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    words = done.stdout.split()
    assert words[-1].endswith("/lib/start.py")
    return words[:-1]


def test_compiled_files_lie_in_a_folder_of_the_user(launcher: Path, tmp_path: Path) -> None:
    for home, variables in (
        (tmp_path / "home", {"HOME": str(tmp_path / "home")}),
        (tmp_path / "xdg", {"XDG_CACHE_HOME": str(tmp_path / "xdg"), "HOME": str(tmp_path / "none")}),
    ):
        caches = home if "xdg" in home.name else home / ".cache"
        folder = caches / "spg99" / "terraform-provider-1.2.3"
        for _ in range(2):
            assert started(launcher, **variables) == ["-I", "-S", "-X", f"pycache_prefix={folder}"]
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("variables", [{}, {"HOME": ""}, {"XDG_CACHE_HOME": "relative"}, {"HOME": "/proc/none"}])
def test_without_such_a_folder_nothing_compiled_is_kept(launcher: Path, variables: dict[str, str]) -> None:
    assert started(launcher, **variables) == ["-I", "-S", "-B"]


def test_what_somebody_else_may_have_written_is_not_loaded(launcher: Path, tmp_path: Path) -> None:
    folder = tmp_path / "spg99" / "terraform-provider-1.2.3"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.parent.mkdir()
    folder.symlink_to(elsewhere)
    assert started(launcher, XDG_CACHE_HOME=str(tmp_path)) == ["-I", "-S", "-B"]
    if os.geteuid() == 0:
        folder.unlink()
        folder.mkdir()
        assert "-X" in started(launcher, XDG_CACHE_HOME=str(tmp_path))
        for theirs in (folder, folder.parent):
            os.chown(theirs, 12345, 12345)
            assert started(launcher, XDG_CACHE_HOME=str(tmp_path)) == ["-I", "-S", "-B"]
            os.chown(theirs, 0, 0)
