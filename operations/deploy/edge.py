"""What an edge for webhooks alone is given, and what stays: `portico deploy edge` on the core writes both folders."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

from channels.base import Account
from channels.registry import Accounts, descriptor
from operations.deploy.certificates import EDGES, Authority, lifetimes, subject_of
from portico.crypto.keyring import Keyring
from portico.crypto.sealing import seal_public_key
from portico.errors import Misconfigured
from portico.private_files import write_private
from portico.settings.settings import Settings

NAME = "edge"
USABLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def write_edge(
    folder: Path, *, settings: Settings, keyring: Keyring, accounts: Accounts, gate: str
) -> list[Path]:
    """The edge's whole home: settings, secrets that verify, a certificate. What was written.

    `gate` is the host:port under which the edge reaches the gate before Temporal. Raises `Misconfigured`.
    """
    if folder.exists() and any(folder.iterdir()):
        raise Misconfigured(f"{folder} is not empty; name a new folder")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    verified = [account for account in accounts if descriptor(account.channel).webhook]
    if not verified:
        raise Misconfigured("no channel with a webhook is configured: an edge would have nothing to receive")
    secrets = {"id_key": base64.b64encode(keyring.current("id").secret).decode()}
    tables = [_settings(settings, keyring, gate)]
    for account in verified:
        tables.append(_account(account, secrets))
    files = {folder / "secrets" / key: value.encode() for key, value in secrets.items()}
    files[folder / "portico.toml"] = "\n".join(tables).encode()
    for path, content in files.items():
        write_private(path, content)
    return sorted(files)


def write_passport(folder: Path, authority: Authority, *, name: str = NAME) -> list[Path]:
    """The certificate with which this edge knocks at the gate. Given again: a new one. Raises `Misconfigured`."""
    check_name(name)
    pair = authority.client(name)
    files = {"gate-ca.crt": authority.certificate, "edge.crt": pair.certificate, "edge.key": pair.key}
    for file, content in files.items():
        write_private(folder / "secrets" / file, content)
    write_private(authority.folder / EDGES / f"{name}.crt", pair.certificate)
    return [folder / "secrets" / file for file in files]


def name_to_renew(folder: Path, gate: Path) -> str:
    """What the edge of this folder is called; a new folder is for the only edge there is. Raises `Misconfigured`."""
    known = [one.edge for one in lifetimes(gate) if one.edge]
    name = subject_of(folder / "secrets" / "edge.crt") or (known[0] if len(known) == 1 else "")
    if not name and known:
        raise Misconfigured(f"--name is wanted: one of {', '.join(known)}")
    return name or NAME


def check_name(name: str) -> None:
    """Raises `Misconfigured`."""
    if not USABLE_NAME.fullmatch(name):
        raise Misconfigured(f"--name {name[:80]}: letters, digits, dots and dashes are wanted, such as dmz-1")


def write_gate(folder: Path, *, host: str = "", renew: bool = False) -> Authority:
    """The authority and the gate's own certificate; the folder stays with the core.

    The certificate stands for `host` and for every host of before: each edge calls the gate by a name of its own.
    `renew`: the authority is there. Raises `Misconfigured`.
    """
    authority = Authority(folder, make=not renew)
    path = folder / "gate.crt"
    before = authority.hosts_of(path.read_bytes()) if path.exists() else []
    hosts = dict.fromkeys([*([host] if host else []), *before, "localhost", "127.0.0.1"])
    pair = authority.server(list(hosts))
    write_private(path, pair.certificate)
    write_private(folder / "gate.key", pair.key)
    return authority


def _settings(settings: Settings, keyring: Keyring, gate: str) -> str:
    key_id, public = seal_public_key(keyring)
    split = f"split = {json.dumps(settings.temporal.split)}\n" if settings.temporal.split else ""
    return f"""# An edge for webhooks alone: `portico serve api --only webhooks` with PORTICO_HOME set to this folder.
# It opens nothing that is stored. Paths are relative to this folder. Another host than this one needs [tls].
host = "127.0.0.1"
port = 8080

[temporal]
address = {json.dumps(gate)}
namespace = {json.dumps(settings.temporal.namespace)}
tls_ca = "secrets/gate-ca.crt"
tls_certificate = "secrets/edge.crt"
tls_key = "secrets/edge.key"
{split}
[edge]
seal_key_id = {json.dumps(key_id)}
seal_key = {json.dumps(base64.b64encode(public).decode())}
id_key = "file:secrets/id_key"
"""


def _account(account: Account, secrets: dict[str, str]) -> str:
    """Secrets go into files of their own; what else an account needs to be read is no secret."""
    lines = [f"[channels.{account.channel}.{account.name}]"]
    for key, value in account.settings.at_edge().items():
        if key == "secret":
            file = f"{account.channel}-{account.name}"
            secrets[file] = value
            value = f"file:secrets/{file}"
        lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"
