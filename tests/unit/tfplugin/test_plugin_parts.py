"""The small parts of the plugin server: certificate, curve, handshake line, timeouts, status texts, workers, log lines."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import os
import ssl
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tfplugin import certificate, curve, dispatch, grpc, handshake, logging, messages, tls
from tfplugin.interface import Call, Diagnostic, error
from tfplugin.workers import Workers


def client_identity(kind: ec.EllipticCurve | None = None) -> tuple[str, str]:
    """A client's certificate and key in PEM; Terraform's is of P-521."""
    key = ec.generate_private_key(kind or ec.SECP521R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA512())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(pem).decode(), private.decode()


def test_the_curve_is_p256() -> None:
    for secret in (1, 2, 3, curve.ORDER - 1, curve.random_factor(), curve.random_factor()):
        numbers = ec.derive_private_key(secret, ec.SECP256R1()).public_key().public_numbers()
        assert curve.multiply(secret) == (numbers.x, numbers.y)


@pytest.mark.parametrize("now", [None, 0.0, 2_600_000_000.0])
def test_the_certificate_is_its_own_valid_authority(now: float | None) -> None:
    der, _ = certificate.make(now)
    made = x509.load_der_x509_certificate(der)
    made.verify_directly_issued_by(made)
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert made.not_valid_after_utc - made.not_valid_before_utc > datetime.timedelta(days=3649)


def test_certificates_are_well_formed_again_and_again() -> None:
    """Whole numbers whose first bit is set get a further byte: among twenty some do."""
    serials = set()
    for _ in range(20):
        made = x509.load_der_x509_certificate(certificate.make()[0])
        made.verify_directly_issued_by(made)
        serials.add(made.serial_number)
    assert len(serials) == 20


def handshake_of(server: tls.Tls, context: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    for _ in range(6):
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        server.opened(outgoing.read())
        incoming.write(server.sealed(b""))
    return client, incoming, outgoing


def test_both_sides_show_their_certificate(tmp_path: Path) -> None:
    client_certificate, client_key = client_identity()
    der, identity = certificate.make()
    settings = tls.context(identity, client_certificate, str(tmp_path))
    assert not list(tmp_path.iterdir()), "the private key is left on disk"
    (tmp_path / "client.pem").write_text(client_certificate + client_key)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(der))
    context.set_alpn_protocols(["h2"])
    stranger = tls.Tls(settings)
    with pytest.raises(tls.Failed, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        handshake_of(stranger, context)
    assert not stranger.established

    (tmp_path / "other.pem").write_text("".join(client_identity()))
    context.load_cert_chain(tmp_path / "other.pem")
    with pytest.raises(tls.Failed, match="CERTIFICATE_VERIFY_FAILED"):
        handshake_of(tls.Tls(settings), context)

    context.load_cert_chain(tmp_path / "client.pem")
    server = tls.Tls(settings)
    client, incoming, outgoing = handshake_of(server, context)
    assert server.established
    assert client.selected_alpn_protocol() == "h2"
    incoming.write(server.sealed(b"hello"))
    assert client.read(100) == b"hello"
    client.write(b"x" * 100_000)
    assert server.opened(outgoing.read()) == b"x" * 100_000
    with pytest.raises(tls.Failed):
        server.opened(b"\x17\x03\x03\x00\x20" + bytes(32))


def test_what_is_no_tls_is_refused(tmp_path: Path) -> None:
    settings = tls.context(certificate.make()[1], client_identity()[0], str(tmp_path))
    with pytest.raises(tls.Failed):
        tls.Tls(settings).opened(b"PRI * HTTP/2.0\r\n\r\n")


def test_the_socket_lies_in_a_folder_of_the_user(tmp_path: Path) -> None:
    listener = handshake.listen({"PLUGIN_UNIX_SOCKET_DIR": "/tmp"})
    assert listener.network == "unix" and listener.folder.startswith("/tmp/tfp")
    assert stat.S_IMODE(os.stat(listener.folder).st_mode) == 0o700
    assert stat.S_ISSOCK(os.stat(listener.address).st_mode)
    listener.socket.close()
    listener.remove()
    assert not os.path.exists(listener.folder)
    listener.remove()


def test_a_folder_with_a_long_name_is_passed_over(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    listener = handshake.listen({"PLUGIN_UNIX_SOCKET_DIR": str(long), "TMPDIR": str(tmp_path / "not there")})
    assert listener.address.startswith("/tmp/") and len(listener.address) <= handshake.UNIX_PATH_BYTES_MAX
    listener.socket.close()
    listener.remove()


def test_a_port_is_taken_from_the_range_and_a_full_range_is_told() -> None:
    listener = handshake.listen({"PLUGIN_MIN_PORT": "21000", "PLUGIN_MAX_PORT": "21500"}, tcp=True, sealed=True)
    port = int(listener.address.rpartition(":")[2])
    assert 21000 <= port <= 21500
    with pytest.raises(handshake.CannotListen, match="no free port"):
        handshake.listen({"PLUGIN_MIN_PORT": str(port), "PLUGIN_MAX_PORT": str(port)}, tcp=True, sealed=True)
    listener.socket.close()
    listener.remove()


def test_a_port_that_every_user_reaches_is_not_opened_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(handshake.CannotListen, match="every user of this machine"):
        handshake.listen({}, tcp=True)
    monkeypatch.delattr(handshake._socket, "AF_UNIX")
    with pytest.raises(handshake.CannotListen, match="every user of this machine"):
        handshake.listen({"PLUGIN_CLIENT_CERT": "for another provider"})


def test_without_any_folder_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, mode: int) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(handshake.CannotListen, match="TMPDIR"):
        handshake.listen({"TMPDIR": "/tmp"})


def test_the_line_holds_the_certificate_without_padding() -> None:
    listener = handshake.listen({})
    try:
        for der in (b"a", b"ab", b"abc"):
            fields = handshake.line(listener, der, {}).decode().rstrip("\n").split("|")
            assert fields[:5] == ["1", "6", "unix", listener.address, "grpc"]
            assert "=" not in fields[5] and base64.b64decode(fields[5] + "==") == der
        assert handshake.line(listener, b"", {"PLUGIN_MULTIPLEX_GRPC": "true"}).endswith(b"|grpc||false\n")
    finally:
        listener.socket.close()
        listener.remove()


@pytest.mark.parametrize(
    ("versions", "spoken"), [("5,6", True), ("6,5", True), ("6", True), ("", True), ("5", False), ("16,60", False)]
)
def test_only_version_six_is_spoken(versions: str, spoken: bool) -> None:
    assert handshake.spoken({"PLUGIN_PROTOCOL_VERSIONS": versions}) is spoken


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1H", 3600.0),
        ("2M", 120.0),
        ("5S", 5.0),
        ("100m", 0.1),
        ("7u", 7e-6),
        ("9n", 9e-9),
        ("", None),
        ("S", None),
        ("5", None),
        ("-1S", None),
        ("1" * 9 + "S", None),
    ],
)
def test_timeouts_of_grpc(text: str, seconds: float | None) -> None:
    assert grpc.seconds_of(text) == (None if seconds is None else pytest.approx(seconds))


def test_status_texts_are_plain_ascii() -> None:
    assert grpc.escaped("100% näh\n") == "100%25 n%C3%A4h%0A"


def test_methods_are_named_in_snake_case() -> None:
    assert dispatch.method_name("PlanResourceChange") == "plan_resource_change"
    assert dispatch.method_name("UpgradeResourceIdentity") == "upgrade_resource_identity"


def test_what_is_taken_over_from_the_request_are_fields_of_both() -> None:
    for name, pairs in messages.STATE_OF_BEFORE.items():
        answer = {field.name: field.kind for field in messages.CODEC.fields(f"{name}.Response").values()}
        request = {field.name: field.kind for field in messages.CODEC.fields(f"{name}.Request").values()}
        for mine, theirs in pairs:
            assert answer[mine] == request[theirs]


def test_workers_are_as_many_as_are_needed_and_no_more() -> None:
    workers = Workers(threads_max=4)
    gate, done = threading.Event(), threading.Semaphore(0)
    running: list[int] = []

    def job() -> None:
        running.append(threading.get_ident())
        gate.wait(10)
        done.release()

    for _ in range(10):
        workers.submit(job)
    while len(running) < 4:
        pass
    assert workers._threads == 4
    gate.set()
    for _ in range(10):
        assert done.acquire(timeout=10)
    assert len(set(running)) == 4


def test_one_worker_is_used_again() -> None:
    workers = Workers()
    for _ in range(5):
        done = threading.Event()
        workers.submit(done.set)
        assert done.wait(10)
        while workers._free < 1:
            pass
    assert workers._threads == 1


@pytest.mark.parametrize("end", [Call.stop, Call.cancel])
def test_a_stop_and_a_cancel_end_the_waiting_of_a_call(end: Callable[[Call], None]) -> None:
    call = Call("X")
    told: list[str] = []
    call.when_ended(lambda: told.append("once"))
    timer = threading.Timer(0.05, end, [call])
    timer.start()
    assert call.wait(10)
    call.when_ended(lambda: told.append("at once"))
    assert told == ["once", "at once"]
    assert (call.stopping, call.cancelled) == (end is Call.stop, end is Call.cancel)


def test_a_call_waits_no_longer_than_asked_nor_than_its_deadline() -> None:
    assert not Call("X").wait(0.01)
    late = Call("X", deadline=0.0)
    assert late.wait(10) and late.cancelled


def test_diagnostics_are_equal_by_what_they_say() -> None:
    assert error("a", "b", ("c",)) == Diagnostic(1, "a", "b", ["c"])
    assert repr(error("a")) == "Error('a', '', path=())"
    assert len({error("a"), error("a"), error("b")}) == 2


def test_log_lines_are_those_of_hclog(capfd: pytest.CaptureFixture[str]) -> None:
    logging.log(logging.ERROR, "it broke", where="here")
    logging.log(logging.TRACE, "a detail")
    (line,) = capfd.readouterr().err.splitlines()
    said = json.loads(line)
    assert (said["@level"], said["@message"], said["where"]) == ("error", "it broke", "here")
    assert said["@timestamp"].endswith("Z")
    assert [logging.least_level({"TF_LOG": text}) for text in ("", "DEBUG", "json", "off")] == [
        "warn",
        "debug",
        "trace",
        "warn",
    ]
