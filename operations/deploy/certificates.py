"""A small authority of the core's own: it signs for the gate before Temporal, and for each edge that may knock there.

Elliptic keys (P-256), ten years for the authority, one year for what it signs; `portico deploy edge --renew` signs
anew. What was signed for an edge is kept without its key, so that somebody here knows when it ends.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from portico.errors import Misconfigured
from portico.private_files import write_private

AUTHORITY_DAYS, SIGNED_DAYS = 3650, 365
EARLIER = datetime.timedelta(minutes=5)
"""Clocks differ."""
WARN_BEFORE = datetime.timedelta(days=30)
EDGES = "edges"
"""Below the authority's folder: the certificate of each edge, by its name."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, as PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True)
class Lifetime:
    """Until when one of the certificates is good. `edge` names the edge that carries it."""

    path: Path
    ends: datetime.datetime
    edge: str = ""

    @property
    def is_over(self) -> bool:
        return self.ends <= datetime.datetime.now(datetime.UTC)

    @property
    def is_short(self) -> bool:
        return self.ends - WARN_BEFORE <= datetime.datetime.now(datetime.UTC)


class Authority:
    """`ca.crt` and `ca.key` in a folder that stays with the core; made when they are first needed."""

    def __init__(self, folder: Path, *, make: bool = True) -> None:
        """Raises `Misconfigured` where there is none and none may be made, or half of one."""
        self.folder = folder
        certificate, key = folder / "ca.crt", folder / "ca.key"
        missing = [path for path in (certificate, key) if not path.exists()]
        if missing and (not make or key.exists() or (folder / "gate.crt").exists()):
            raise Misconfigured(
                f"{missing[0]} is missing: is {folder} the gate's folder (--gate-folder)? "
                "If that file is lost: delete the folder and make every edge anew"
            )
        if not key.exists():
            made = _sign(_name("Portico gate"), None, None, days=AUTHORITY_DAYS, authority=True)
            write_private(certificate, made.certificate)
            write_private(key, made.key)
        self.certificate = certificate.read_bytes()
        self._issuer = x509.load_pem_x509_certificate(self.certificate)
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        self._key = loaded
        if self._issuer.not_valid_after_utc <= datetime.datetime.now(datetime.UTC):
            raise Misconfigured(f"{certificate} has ended: delete {folder} and make every edge anew")

    def hosts_of(self, certificate: bytes) -> list[str]:
        """For whom a certificate of the gate stands; none where this authority did not sign it."""
        try:
            found = x509.load_pem_x509_certificate(certificate)
            found.verify_directly_issued_by(self._issuer)
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            return []
        return [str(name.value) for name in names]

    def server(self, hosts: Sequence[str]) -> Pair:
        return _sign(
            _name(hosts[0]), self._issuer, self._key, hosts=hosts, usage=ExtendedKeyUsageOID.SERVER_AUTH
        )

    def client(self, name: str) -> Pair:
        return _sign(_name(name), self._issuer, self._key, usage=ExtendedKeyUsageOID.CLIENT_AUTH)


def lifetimes(folder: Path) -> Iterator[Lifetime]:
    """Of all certificates in the folder of an authority. Raises `Misconfigured` for a file that is none."""
    for path in (folder / "ca.crt", folder / "gate.crt"):
        if path.exists():
            yield Lifetime(path, _loaded(path).not_valid_after_utc)
    for path in sorted((folder / EDGES).glob("*.crt")):
        yield Lifetime(path, _loaded(path).not_valid_after_utc, edge=path.stem)


def subject_of(path: Path) -> str:
    """Whom a certificate names; empty where there is no such file. Raises `Misconfigured`."""
    if not path.exists():
        return ""
    return "".join(
        str(one.value) for one in _loaded(path).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    )


def _loaded(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError:
        raise Misconfigured(f"{path} is no certificate") from None


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
    ends = now + datetime.timedelta(days=days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(min(ends, issuer.not_valid_after_utc) if issuer else ends)
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
