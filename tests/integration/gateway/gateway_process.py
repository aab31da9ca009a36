"""One gateway process as tests start it, ask it and end it. Not here: what is right (the tests')."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, TypeVar

import psutil
import psycopg
from prometheus_client.parser import text_string_to_metric_families

from integration.gateway.fake_control_plane import FakeControlPlane, Tenant

T = TypeVar("T")
START = "import sys; from spg99.config import GatewaySettings as G; from spg99.gateway.server import run; run(G.model_validate_json(sys.argv[1]))"


class Gateway:
    """One gateway process."""

    def __init__(self, plane: FakeControlPlane, data_dir: Path, **settings: Any) -> None:
        self.plane = plane
        self.data_dir = data_dir
        self.settings = {
            "cp_url": plane.url,
            "data_dir": str(data_dir),
            "enrolment_token": "enrol-me",
            "port": 0,
            "metrics_port": 0,
            "workers": 2,
            "log_level": "info",
            "log_json": True,
        } | settings
        self.process: subprocess.Popen[str] | None = None
        self.port = 0
        self.metrics_port = 0
        self.log_path = data_dir / "gateway.log"

    def start(self) -> Gateway:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", START, json.dumps(self.settings)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the gateway did not start:\n{self.log()}"
        ready = json.loads(line)
        assert ready["ready"] is True
        assert ready["process"] == "gateway"
        self.port, self.metrics_port = ready["port"], ready["metrics_port"]
        return self

    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def figure(self, name: str, **labels: str) -> float:
        """One figure of /metrics, 0 when it is not there: `figure("spg99_gateway_errors_total", sqlstate="28P01")`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        samples = (sample for family in families for sample in family.samples)
        return next((each.value for each in samples if each.name == name and each.labels == labels), 0.0)

    def errors_seen(self, sqlstate: str) -> float:
        """How many clients were told this, as /metrics says."""
        return self.figure("spg99_gateway_errors_total", sqlstate=sqlstate)

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children()

    def end(self, number: int = signal.SIGTERM, *, seconds: float = 20) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout=seconds)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            try:
                self.end(seconds=25)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise

    def options(self, tenant: Tenant, database: str, **more: Any) -> dict[str, Any]:
        """Keyword arguments for psycopg."""
        return {
            "host": "localhost",
            "hostaddr": "127.0.0.1",
            "port": self.port,
            "user": tenant.pg_user,
            "password": tenant.password,
            "dbname": database,
            "sslmode": "verify-full",
            "sslrootcert": str(self.data_dir / "gateway" / "tls" / "ca.crt"),
            "connect_timeout": 30,
        } | more

    def connect(self, tenant: Tenant, database: str, **more: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(**self.options(tenant, database, **more), autocommit=True)

    def environment(self, tenant: Tenant, database: str) -> dict[str, str]:
        """For libpq programs."""
        return {
            **os.environ,
            "PGHOST": "localhost",
            "PGHOSTADDR": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": tenant.pg_user,
            "PGPASSWORD": tenant.password,
            "PGDATABASE": database,
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": str(self.data_dir / "gateway" / "tls" / "ca.crt"),
        }
