"""A small authority of the core's own: it signs for the gate before Temporal, and for each edge that may knock there.

Elliptic keys (P-256), ten years for the authority, one year for what it signs; `portico deploy edge` signs anew.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from portico.crypto import write_private

AUTHORITY_DAYS, SIGNED_DAYS = 3650, 365
EARLIER = datetime.timedelta(minutes=5)
"""Clocks differ."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, as PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """`ca.crt` and `ca.key` in a folder that stays with the core; made when they are first needed."""

    def __init__(self, folder: Path) -> None:
        certificate, key = folder / "ca.crt", folder / "ca.key"
        if not key.exists():
            made = _sign(_name("Portico gate"), None, None, days=AUTHORITY_DAYS, authority=True)
            write_private(certificate, made.certificate)
            write_private(key, made.key)
        self.certificate = certificate.read_bytes()
        self._issuer = x509.load_pem_x509_certificate(self.certificate)
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        self._key = loaded

    def server(self, hosts: Sequence[str]) -> Pair:
        return _sign(
            _name(hosts[0]), self._issuer, self._key, hosts=hosts, usage=ExtendedKeyUsageOID.SERVER_AUTH
        )

    def client(self, name: str) -> Pair:
        return _sign(_name(name), self._issuer, self._key, usage=ExtendedKeyUsageOID.CLIENT_AUTH)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _sign(
    name: x509.Name,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey | None,
    *,
    hosts: Sequence[str] = (),
    usage: x509.ObjectIdentifier | None = None,
    days: int = SIGNED_DAYS,
    authority: bool = False,
) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(
            x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True
        )
    )
    if hosts:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
        )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    signed = builder.sign(issuer_key or key, hashes.SHA256())
    return Pair(
        signed.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
