"""`spg99 dev` beyond loopback: HTTPS for every client of ours, and what one reads who trusts or speaks the wrong thing."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from cryptography import x509

from kit.platform import BIN, Platform, a_platform, wait_for
from spg99.tls import certificates
from terraform_cli import Workspace, settings_of, terraform

PROGRAM = """
import pulumi
from spg99.dynamic import Database, Tenant, get_tenant

acme = Tenant("acme", name="tls_dynamic")
app = Database("app", tenant=acme.name, name="app")
pulumi.export("id", app.db_id)
pulumi.export("tenants", get_tenant("already_there").name)
"""
YAML = """
name: shop
runtime: yaml
resources:
  acme:
    type: spg99:Tenant
    properties: {name: tls_native}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def metrics() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def platform(metrics: str) -> Iterator[Platform]:
    with a_platform("--host", "0.0.0.0", environment={"SPG99_METRICS_ADDRESS": metrics}) as running:
        yield running


def spg99(platform: Platform, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "spg99", *arguments],
        env={**os.environ, **platform.env, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_api_speaks_https_and_its_variables_are_exported(platform: Platform) -> None:
    assert platform.env["SPG99_CP_URL"].startswith("https://localhost:")
    assert platform.api("GET", "/account").json()["account_id"]
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        platform.api("GET", "/account", verify=ssl.create_default_context(cafile=platform.env["PGSSLROOTCERT"]))
    bundle = ssl.create_default_context(cafile=platform.env["NODE_EXTRA_CA_CERTS"])
    assert platform.api("GET", "/account", verify=bundle).is_success
    platform.create_database()
    with platform.connect() as connection:  # agent and Gateway work through the same door
        assert connection.execute("select 1").fetchone() == (1,)


def test_other_machines_find_their_names_in_both_certificates(platform: Platform) -> None:
    for subject in ("control-plane", "gateway"):
        names = names_in(platform.data_dir / subject / "tls" / "server.crt")
        assert {"localhost", socket.gethostname()} <= set(names.get_values_for_type(x509.DNSName))
        assert "127.0.0.1" in map(str, names.get_values_for_type(x509.IPAddress))


def test_commands_with_the_right_and_the_wrong_ca(platform: Platform) -> None:
    assert spg99(platform, "account", "get").returncode == 0
    assert (
        spg99(platform, "account", "get", "--ca-file", platform.env["SPG99_CA_FILE"], SPG99_CA_FILE="").returncode == 0
    )
    assert spg99(platform, "account", "get", "--data-dir", str(platform.data_dir), SPG99_CA_FILE="").returncode == 0
    for wrong, sentence in (
        (platform.env["PGSSLROOTCERT"], "is not trusted"),
        ("", "is not trusted"),
        ("/no/such/ca.crt", "cannot be used: No such file"),
        (str(platform.data_dir / "dev.json"), "cannot be used: no certificate"),
    ):
        done = spg99(platform, "account", "get", SPG99_CA_FILE=wrong)
        assert done.returncode == 1 and sentence in done.stderr and "SPG99_CA_FILE" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr and platform.env["SPG99_API_KEY"] not in done.stderr


def test_plain_http_is_told_what_to_write(platform: Platform) -> None:
    plain = platform.env["SPG99_CP_URL"].replace("https://", "http://")
    done = spg99(platform, "account", "get", SPG99_CP_URL=plain)
    assert done.returncode == 1 and "speaks HTTPS" in done.stderr and "https://" in done.stderr, done.stderr


def test_metrics_are_on_an_address_of_their_own(platform: Platform, metrics: str) -> None:
    root = platform.env["SPG99_CP_URL"].removesuffix("/v2")
    verify = ssl.create_default_context(cafile=platform.env["SPG99_CA_FILE"])
    assert httpx.get(root + "/metrics", verify=verify).status_code == 404
    assert httpx.get(root + "/healthz", verify=verify).status_code == 200
    assert "spg99_http_requests_total" in httpx.get(f"http://{metrics}/metrics").text
    assert httpx.get(f"http://{metrics}/readyz").json()["status"] in ("ready", "degraded")
    headers = {"Authorization": f"Bearer {platform.env['SPG99_API_KEY']}"}
    assert httpx.get(f"http://{metrics}/v2/account", headers=headers).status_code == 404


@pytest.mark.slow  # again
def test_a_new_certificate_is_served_without_a_restart(platform: Platform) -> None:
    folder = platform.data_dir / "control-plane" / "tls"
    before, pid = shown(platform), platform.child("control-plane")
    known = names_in(folder / "server.crt")  # all of them: other tests look for them, before this one or after it
    names = [*map(str, known.get_values_for_type(x509.IPAddress)), *known.get_values_for_type(x509.DNSName)]
    names.append("new.example.com")
    certificates.ensure(folder, names=names, now=datetime.now(UTC), subject="SPG99 Control Plane")
    assert shown(platform) != before
    assert platform.api("GET", "/account").is_success and platform.child("control-plane") == pid


def names_in(certificate: Path) -> x509.SubjectAlternativeName:
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    return found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def shown(platform: Platform) -> int:
    """The number of the certificate that a new connection sees."""
    context = ssl.create_default_context(cafile=platform.env["SPG99_CA_FILE"])
    port = urlsplit(platform.env["SPG99_CP_URL"]).port
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as secured:
            return x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"").serial_number


@pytest.mark.slow  # again
@pytest.mark.parametrize("kind", ["dynamic", "native"])
def test_a_pulumi_program_verifies(platform: Platform, tmp_path: Path, kind: str) -> None:
    (tmp_path / "state").mkdir()
    if kind == "dynamic":
        platform.api("POST", "/tenants", json={"name": "already_there"})
        (tmp_path / "Pulumi.yaml").write_text("name: shop\nruntime: python\n")
        (tmp_path / "__main__.py").write_text(PROGRAM)
    else:
        (tmp_path / "Pulumi.yaml").write_text(YAML)
    environment = {
        "PULUMI_BACKEND_URL": f"file://{tmp_path}/state",
        "PULUMI_CONFIG_PASSPHRASE": "x",
        "PULUMI_HOME": str(tmp_path / "home"),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [BIN / "spg99", *arguments]
        every = {**os.environ, **platform.env, **environment, **more}
        return subprocess.run(command, cwd=tmp_path, env=every, capture_output=True, text=True, timeout=120, input="")

    if kind == "native":
        assert run("plugin", "install").returncode == 0
    assert run("stack", "init", "dev").returncode == 0
    up = ("up", "--yes", "--skip-preview", "--stack", "dev")
    refused = run(*up, SPG99_CA_FILE="")
    assert refused.returncode != 0 and "not trusted" in refused.stdout + refused.stderr
    assert run("config", "set", "spg99:caFile", platform.env["SPG99_CA_FILE"], "--stack", "dev").returncode == 0
    done = run(*up, SPG99_CA_FILE="")
    assert done.returncode == 0, done.stdout + done.stderr
    again = run(*up, "--expect-no-changes")
    assert again.returncode == 0, again.stdout + again.stderr
    gone = run("destroy", "--yes", "--skip-preview", "--stack", "dev")
    assert gone.returncode == 0, gone.stdout + gone.stderr


@pytest.mark.slow  # again
def test_terraform_verifies(platform: Platform, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    assert spg99(platform, "terraform", "install", "--dir", str(mirror)).returncode == 0
    url, key = platform.env["SPG99_CP_URL"], platform.env["SPG99_API_KEY"]
    resource = 'resource "spg99_tenant" "it" {\n  name = "tls_terraform"\n}\n'
    blind = Workspace(_folder(tmp_path / "blind"), binary=terraform(), mirror=mirror, settings=settings_of(url, key))
    blind.write(resource)
    failed = blind.run("apply", "-auto-approve", check=False)
    assert failed.code == 1 and "not trusted" in " ".join(failed.text.split()), failed.text
    trusting = settings_of(url, key, ca_file=platform.env["SPG99_CA_FILE"])
    work = Workspace(_folder(tmp_path / "work"), binary=terraform(), mirror=mirror, settings=trusting)
    work.write(resource)
    work.apply()
    assert work.plan().is_empty
    work.destroy()


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.slow  # again
def test_plain_http_beyond_loopback_is_said_aloud() -> None:
    with a_platform("--host", "0.0.0.0", "--no-tls") as platform:
        assert platform.env["SPG99_CP_URL"].startswith("http://127.0.0.1:") and "SPG99_CA_FILE" not in platform.env
        assert platform.api("GET", "/account").is_success
        assert "readable" in platform.log() and '"level": "warning"' in platform.log()
        assert httpx.get(platform.env["SPG99_CP_URL"].removesuffix("/v2") + "/metrics").status_code == 404


@pytest.mark.slow  # again
def test_by_default_both_loopback_addresses_are_listened_on() -> None:
    with a_platform() as platform:
        api = urlsplit(platform.env["SPG99_CP_URL"])
        assert (api.scheme, api.hostname) == ("http", "127.0.0.1")
        dev = json.loads((platform.data_dir / "dev.json").read_text())
        platform.create_database()
        addresses = ["127.0.0.1", "::1"] if _has_ipv6() else ["127.0.0.1"]
        for address in [*addresses, "localhost"]:
            host = f"[{address}]" if ":" in address else address
            assert httpx.get(f"http://{host}:{api.port}/healthz").is_success
            found = psycopg.connect(platform.dsn().replace("@localhost:", f"@{host}:"), connect_timeout=30)
            assert found.execute("select 1").fetchone() == (1,)
            found.close()
        assert wait_for("metrics", lambda: httpx.get(f"http://127.0.0.1:{dev['api_port']}/metrics").is_success)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
