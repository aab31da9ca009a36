"""Real S3 servers for tests: moto's (in memory) and versitygw (a folder). Here: starting them. Not here: faults on the way to them
(faulty_s3.py), what a store promises (the tests')."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from kit.tiers import only_when_slow
from kit.waits import wait_for
from spg99.objects import ObjectStore, open_store

BUCKET = "bucket"
ACCESS_KEY = "test"
SECRET_KEY = "test-secret"
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class S3Server:
    """A server that runs, with a bucket `bucket`."""

    endpoint: str

    @property
    def port(self) -> int:
        """Of 127.0.0.1."""
        return int(self.endpoint.rpartition(":")[2])

    @property
    def options(self) -> dict[str, str]:
        """For `open_store`."""
        return options(self.endpoint)

    @property
    def environment(self) -> dict[str, str]:
        """For a process of ours whose object store is `s3://bucket/...`."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT": self.endpoint,
        }

    def store(self, path: str) -> ObjectStore:
        """The store below a path of the bucket."""
        return open_store(f"s3://{BUCKET}/{path}", self.options)


def options(endpoint: str) -> dict[str, str]:
    """Of a server at this place, or of something before it."""
    return {
        "access_key_id": ACCESS_KEY,
        "secret_access_key": SECRET_KEY,
        "region": "us-east-1",
        "endpoint": endpoint,
    }


@contextlib.contextmanager
def moto() -> Iterator[S3Server]:
    """moto's server: in this process, in memory."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT"))
    try:
        yield S3Server(endpoint)
    finally:
        server.stop()


def find_versitygw() -> str:
    """The program; skips the test where it was not built. Fails one that is not marked `slow`."""
    only_when_slow("versitygw")
    found = (
        os.environ.get("SPG99_VERSITYGW")
        or shutil.which("versitygw")
        or shutil.which("versitygw", path=str(ROOT / ".tools" / "bin"))
    )
    if found is None:
        pytest.skip("versitygw is not on PATH (`make s3-server` builds it; SPG99_VERSITYGW names one)")
    return found


@contextlib.contextmanager
def versitygw(folder: Path) -> Iterator[S3Server]:
    """A real gateway, whose buckets are folders below `folder`."""
    program = find_versitygw()
    (folder / "root" / BUCKET).mkdir(parents=True)
    (folder / "sidecar").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [program, "--port", f"127.0.0.1:{port}", "posix", "--sidecar", folder / "sidecar", folder / "root"],
            env={"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY, "PATH": os.environ["PATH"]},
            stdout=log,
            stderr=log,
        )
    try:
        wait_for("versitygw listens", lambda: _listens(port) or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        yield S3Server(f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
