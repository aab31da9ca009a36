"""Passwords that may be brought, typed into JDBC: its own SCRAM, with a SASLprep of its own. `long`: the driver comes from Maven Central."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.gateway.fake_control_plane import FakeControlPlane, Tenant
from integration.gateway.gateway_process import Gateway
from unit.test_saslprep import ALIKE

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

DRIVER = "org.postgresql:postgresql:42.7.8"
PROGRAM = """
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.sql.DriverManager;
import java.util.*;

class LogIn {
    public static void main(String[] arguments) throws Exception {
        var lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null; ) {
            var properties = new Properties();
            properties.setProperty("user", arguments[1]);
            properties.setProperty("password", new String(Base64.getDecoder().decode(line), StandardCharsets.UTF_8));
            properties.setProperty("sslmode", "verify-full");
            properties.setProperty("sslrootcert", arguments[2]);
            try (var connection = DriverManager.getConnection(arguments[0], properties);
                 var rows = connection.createStatement().executeQuery("select 'in'")) {
                rows.next();
                System.out.println(rows.getString(1));
            } catch (Exception error) {
                System.out.println(error.toString().replace("\\n", " "));
            }
            System.out.flush();
        }
    }
}
"""


@pytest.fixture(scope="module")
def java_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on the PATH")
    folder = tmp_path_factory.mktemp("jdbc")
    copy = ["mvn", "-q", "dependency:copy", f"-Dartifact={DRIVER}", "-DoutputDirectory=.", "-Dmdep.stripVersion=true"]
    done = subprocess.run(copy, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "LogIn.java").write_text(PROGRAM)
    return folder


@pytest.fixture(scope="module")
def log_in(
    java_folder: Path, shared_plane: FakeControlPlane, shared_gateway: Gateway
) -> Iterator[Callable[[str], str]]:
    """What JDBC answers to a password: `in`, or why not. One virtual machine for all of them."""
    tenant = shared_plane.tenants["tnt_acme"]
    process = subprocess.Popen(
        [
            *("java", "-cp", "postgresql.jar", "LogIn.java", f"jdbc:postgresql://localhost:{shared_gateway.port}/app"),
            *(tenant.pg_user, shared_gateway.environment(tenant, "app")["PGSSLROOTCERT"]),
        ],
        cwd=java_folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    streams = process.stdin, process.stdout

    def answer(password: str) -> str:
        streams[0].write(base64.b64encode(password.encode()).decode() + "\n")
        streams[0].flush()
        return streams[1].readline().strip()

    yield answer
    streams[0].close()
    process.wait(30)
    streams[1].close()


@pytest.mark.parametrize("password", ALIKE)
def test_taken_passwords_log_in_with_jdbc(
    log_in: Callable[[str], str], shared_plane: FakeControlPlane, tenant: Tenant, password: str
) -> None:
    before = tenant.password
    shared_plane.rotate(tenant, password)
    try:
        assert log_in(password) == "in"
        assert "password authentication failed" in log_in(password + "!")
    finally:
        shared_plane.rotate(tenant, before)
