"""The object store of a demonstration: versitygw where it was built (`make s3-server`), an S3 server that keeps objects as files; else moto's server, which keeps
them in memory. Here: starting and ending it. Not here: who uses it (demo_cluster.py)."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[1]
_BUCKET: Final = "bucket"
_ACCESS_KEY, _SECRET_KEY = "demo", "demo-secret-of-no-use"
_SECONDS_MAX: Final = 60.0


class Store:
    """One S3 server on an address of this computer. Use it as `with`."""

    def __init__(self, host: str, folder: Path) -> None:
        self._folder = folder
        program = shutil.which(
            "versitygw", path=os.pathsep.join([os.environ.get("PATH", ""), str(_ROOT / ".tools/bin")])
        )
        self.name = "versitygw" if program else "moto's server"
        with socket.socket() as free:
            free.bind((host, 0))
            self._address = host, int(free.getsockname()[1])
        self._endpoint = f"http://{host}:{self._address[1]}"
        # An access key is a user name to it, and a folder a bucket.
        (folder / "root" / _BUCKET).mkdir(parents=True)
        (folder / "sidecar").mkdir()
        if program is not None:
            place = self._endpoint.removeprefix("http://")
            self._command = [
                program,
                "--port",
                place,
                "posix",
                "--sidecar",
                str(folder / "sidecar"),
                str(folder / "root"),
            ]
        else:
            self._command = [sys.executable, "-m", "moto.server", "-H", host, "-p", str(self._address[1])]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For `--object-store`."""
        return f"s3://{_BUCKET}/demo"

    @property
    def environment(self) -> dict[str, str]:
        """For whoever uses it."""
        return {
            "AWS_ACCESS_KEY_ID": _ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT": self._endpoint,
        }

    def __enter__(self) -> Store:
        keys = {"ROOT_ACCESS_KEY": _ACCESS_KEY, "ROOT_SECRET_KEY": _SECRET_KEY}
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(self._command, env=os.environ | keys, stdout=log, stderr=log)
        deadline = time.monotonic() + _SECONDS_MAX
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{self.name} did not start: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        if self.name != "versitygw":
            urllib.request.urlopen(urllib.request.Request(f"{self._endpoint}/{_BUCKET}", method="PUT"), timeout=10)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(self._address, timeout=1):
            return True
        return False
