"""TLS at the edge: 1.3 works through the command line too, anything older is refused."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from operations.embedded.selfcheck import QUESTION
from tests.support import RunningStack


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningStack, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = make_certificate(folder)
    tables = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'
    stack = RunningStack(folder / "home", settings=tables)
    try:
        stack.start(prove=True)
        yield stack, certificate
    finally:
        stack.stop()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "portico of the tests")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


def context_of(certificate: Path, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificate))
    context.minimum_version = context.maximum_version = version
    return context


def test_tls_1_3_works_and_nothing_older(encrypted: tuple[RunningStack, Path]) -> None:
    stack, certificate = encrypted
    url = f"https://{stack.address('api')}/healthz"
    new = httpx2.get(url, verify=context_of(certificate, ssl.TLSVersion.TLSv1_3))
    assert new.json() == {"status": "ok"}
    with pytest.raises(httpx2.ConnectError, match=r"(?i)version|alert|protocol"):
        httpx2.get(url, verify=context_of(certificate, ssl.TLSVersion.TLSv1_2))


def test_plain_http_gets_nothing(encrypted: tuple[RunningStack, Path]) -> None:
    stack, _ = encrypted
    with pytest.raises(httpx2.TransportError):
        httpx2.get(f"http://{stack.address('api')}/healthz")


def test_the_command_line_and_the_session_know_of_it(encrypted: tuple[RunningStack, Path]) -> None:
    stack, certificate = encrypted
    assert "391" in stack.run("send", QUESTION).stdout
    assert stack.run("status").returncode == 0
    assert f"PORTICO_URL=https://{stack.address('api')}" in stack.run("env").stdout
    link = stack.run("open").stdout.strip()
    assert link.startswith("https://")
    verify = context_of(certificate, ssl.TLSVersion.TLSv1_3)
    cookie = httpx2.get(link, verify=verify).headers["set-cookie"].lower()
    assert "; secure" in cookie
    assert f"chat      https://{stack.address('api')}/login" in stack.output


def test_the_history_page_finds_its_codec_by_https(encrypted: tuple[RunningStack, Path]) -> None:
    stack, certificate = encrypted
    key = stack.home.cli_key.read_text().strip()
    answer = httpx2.get(
        f"https://{stack.address('api')}/temporal/api/v1/settings",
        headers={"Authorization": f"Bearer {key}"},
        verify=context_of(certificate, ssl.TLSVersion.TLSv1_3),
    )
    assert answer.json()["Codec"]["Endpoint"] == f"https://{stack.address('api')}/codec"
