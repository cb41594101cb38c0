"""The certificates of gate and edges: for whom they stand, how they are renewed, who is told of their end."""

from __future__ import annotations

import datetime
import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from operations.checks.doctor import HomeFinding, examine
from operations.deploy.certificates import Authority, lifetimes
from operations.deploy.edge import write_gate, write_passport
from portico.errors import Misconfigured
from portico.settings.home import Home
from tests.support import CHECKOUT

FIRST, SECOND = "core.example.org", "127.0.0.1"


def knock(edge: Path, gate: Path, *, host: str) -> None:
    """A handshake between an edge and a gate as they are on disk. Raises `ssl.SSLError` where one refuses."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(gate / "gate.crt", gate / "gate.key")
    serving.load_verify_locations(gate / "ca.crt")
    serving.verify_mode = ssl.CERT_REQUIRED
    asking = ssl.create_default_context(cafile=str(edge / "secrets" / "gate-ca.crt"))
    asking.load_cert_chain(edge / "secrets" / "edge.crt", edge / "secrets" / "edge.key")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    both = (
        asking.wrap_bio(back, there, server_hostname=host),
        serving.wrap_bio(there, back, server_side=True),
    )
    for _ in range(4):
        for side in both:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue


def made(folder: Path, *, host: str = FIRST, name: str = "edge") -> tuple[Path, Path]:
    """An edge's folder and the gate's."""
    write_passport(folder / name, write_gate(folder / "gate", host=host), name=name)
    return folder / name, folder / "gate"


def portico(*arguments: str | Path, home: Path) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTICO_")}
    return subprocess.run(
        (sys.executable, "-m", "entrypoints.cli.main", "deploy", "edge", *map(str, arguments)),
        cwd=CHECKOUT,
        env=kept | {"PORTICO_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def names(gate: Path) -> list[str]:
    found = x509.load_pem_x509_certificate((gate / "gate.crt").read_bytes())
    return [
        str(one.value) for one in found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    ]


def test_a_second_edge_leaves_the_first_ones_way_to_the_gate_open(tmp_path: Path) -> None:
    first, gate = made(tmp_path, name="first")
    second, _ = made(tmp_path, host=SECOND, name="second")
    knock(first, gate, host=FIRST)
    knock(second, gate, host=SECOND)
    assert sorted(names(gate)) == [SECOND, FIRST, "localhost"], "each once"


def test_names_that_another_authority_signed_are_not_taken_over(tmp_path: Path) -> None:
    _, foreign = made(tmp_path / "foreign", host="evil.example.org")
    _, gate = made(tmp_path)
    (gate / "gate.crt").write_bytes((foreign / "gate.crt").read_bytes())
    made(tmp_path)
    assert "evil.example.org" not in names(gate)


def test_renewed_certificates_are_new_ones_of_the_same_authority(tmp_path: Path) -> None:
    edge, gate = made(tmp_path, name="dmz")
    before = {path: path.read_bytes() for folder in (edge, gate) for path in folder.rglob("*.crt")}
    (tmp_path / "old").mkdir()
    (edge / "secrets").rename(tmp_path / "old" / "secrets")
    (edge / "secrets").mkdir()
    (edge / "secrets" / "edge.crt").write_bytes(before[edge / "secrets" / "edge.crt"])
    done = portico(edge, "--renew", home=tmp_path)
    assert done.returncode == 0, done.stderr
    end = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=365)).year
    assert f"good until {end}-" in done.stdout and "--force-recreate gate" in done.stdout
    changed = {path.name for path, content in before.items() if path.read_bytes() != content}
    assert changed == {"edge.crt", "gate.crt", "dmz.crt"}
    knock(edge, gate, host=FIRST)
    knock(tmp_path / "old", gate, host=FIRST)
    assert [one.edge for one in lifetimes(gate)] == ["", "", "dmz"], "it is called as before"


def test_an_edge_that_was_carried_away_is_renewed_into_a_new_folder(tmp_path: Path) -> None:
    _, gate = made(tmp_path, name="dmz")
    given = ("--renew", "--gate", "10.9.0.2:7443", "--gate-folder", gate)
    done = portico(tmp_path / "new", *given, home=tmp_path / "none")
    assert done.returncode == 0, done.stderr
    assert [one.edge for one in lifetimes(gate)] == ["", "", "dmz"], "there is no other edge"
    assert {path.name for path in (tmp_path / "new").rglob("*.*")} == {"gate-ca.crt", "edge.crt", "edge.key"}
    knock(tmp_path / "new", gate, host=FIRST)
    knock(tmp_path / "new", gate, host="10.9.0.2")


def test_of_several_edges_the_one_to_renew_is_named(tmp_path: Path) -> None:
    _, gate = made(tmp_path, name="first")
    made(tmp_path, name="second")
    done = portico(tmp_path / "new", "--renew", home=tmp_path)
    assert done.returncode == 1 and "first, second" in done.stderr and not (tmp_path / "new").exists()
    assert portico(tmp_path / "new", "--renew", "--name", "second", home=tmp_path).returncode == 0
    knock(tmp_path / "new", gate, host=FIRST)


def test_the_doctor_tells_what_ends_soon(tmp_path: Path) -> None:
    def told() -> list[HomeFinding]:
        return [finding for finding in examine(Home(tmp_path)) if finding.what == "gate"]

    assert told() == []
    _, gate = made(tmp_path)
    assert told()[0].well
    put_certificate(gate / "edges" / "edge.crt", days=20)
    assert not told()[0].well and "--renew" in told()[0].mend


def test_an_authority_made_anew_refuses_what_was_signed_before(tmp_path: Path) -> None:
    edge, gate = made(tmp_path)
    gate.rename(tmp_path / "taken")
    made(tmp_path, name="new")
    knock(tmp_path / "new", gate, host=FIRST)
    with pytest.raises(ssl.SSLError):
        knock(edge, gate, host=FIRST)


def test_nothing_is_renewed_where_there_is_no_authority(tmp_path: Path) -> None:
    done = portico(tmp_path / "edge", "--renew", home=tmp_path)
    assert done.returncode == 1 and "--gate-folder" in done.stderr and len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lost", ["ca.key", "ca.crt"])
def test_half_an_authority_is_told_and_not_made_anew(tmp_path: Path, lost: str) -> None:
    _, gate = made(tmp_path)
    (gate / lost).unlink()
    with pytest.raises(Misconfigured, match=lost):
        write_gate(gate, host=FIRST)


def test_a_making_that_broke_off_is_made_whole(tmp_path: Path) -> None:
    _, gate = made(tmp_path)
    for name in ("ca.key", "gate.crt", "gate.key"):
        (gate / name).unlink()
    edge, _ = made(tmp_path)
    knock(edge, gate, host=FIRST)


@pytest.mark.parametrize(
    "arguments",
    [("--name", "../x"), ("--name", "a b"), ("--gate", "a b:7443"), ("--gate", "core"), ("--gate", ":7443")],
)
def test_what_fits_no_certificate_is_told_in_a_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    given = arguments if "--gate" in arguments else (*arguments, "--gate", "core.example.org:7443")
    done = portico(tmp_path / "edge", *given, home=tmp_path / "home")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / "edge").exists()


def test_nothing_outlives_the_authority(tmp_path: Path) -> None:
    put_certificate(tmp_path / "ca.crt", days=40, key=tmp_path / "ca.key")
    pair = Authority(tmp_path).client("edge")
    signed = x509.load_pem_x509_certificate(pair.certificate)
    assert signed.not_valid_after_utc <= datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=40)
    put_certificate(tmp_path / "ca.crt", days=-1, key=tmp_path / "ca.key")
    with pytest.raises(Misconfigured, match="has ended"):
        Authority(tmp_path)


def put_certificate(path: Path, *, days: int, key: Path | None = None) -> None:
    """One that signed itself and ends in so many days."""
    path.parent.mkdir(parents=True, exist_ok=True)
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - datetime.timedelta(days=365))
        .not_valid_after(ends)
        .sign(private, hashes.SHA256())
    )
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    if key is not None:
        form = serialization.PrivateFormat.PKCS8
        key.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
