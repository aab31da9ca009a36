"""What every test may ask for: a data folder that PostgreSQL's user can reach, and the platform. Not here: what a room has for itself."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from kit.examples import few_are_enough
from kit.order import pytest_collection_modifyitems, pytest_terminal_summary  # noqa: F401  - hooks are found here
from kit.outcomes import pytest_runtest_logreport, pytest_sessionfinish  # noqa: F401
from kit.platform import Platform, a_platform
from kit.tiers import pytest_runtest_setup  # noqa: F401

settings.load_profile("few" if few_are_enough() else "all")

# A shell that starts the tests in the background has them ignore Ctrl-C, and every process they start with them; those that test
# what Ctrl-C does would wait for ever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Tests write a program anew within the second in which it ran before: byte code that was kept would pass for the new one.
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
# Not so here: rewriting the asserts of all tests takes some 15 s in each process of a run that may not keep what it rewrote.
sys.dont_write_bytecode = False


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A fresh folder with a short path (unix sockets) which other users may walk through (PostgreSQL under root)."""
    path = Path(tempfile.mkdtemp(prefix="spg99-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def session_data_dir() -> Iterator[Path]:
    """The same, once per test run."""
    path = Path(tempfile.mkdtemp(prefix="spg99-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    """The whole platform, really running: one for all tests of a worker that leave it standing (a start costs 4 s of two cores).

    Each takes names of its own. Rooms that break it, or start it otherwise, have a fixture of this name of their own.
    """
    with a_platform() as running:
        yield running
