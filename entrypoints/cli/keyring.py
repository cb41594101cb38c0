"""`portico keyring`: the keys that encrypt what is stored, and their rotation while Portico runs."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from entrypoints.cli.deploy.backup import ComposeFiles, Project, deployment
from entrypoints.cli.output import print_json, print_table
from portico.errors import Misconfigured

if TYPE_CHECKING:
    from portico.crypto.rotation import KeyInfo, StoredKeyring
    from portico.settings.home import Home

app = typer.Typer(
    no_args_is_help=True, help="keys of the encrypted data: list and rotate them", add_completion=False
)

SETTLE_S = 2.0
"""A key is known at least this long before it encrypts: longer than a process waits between two unknown key ids."""
POLL_S = 1.0
BY_HAND = """\
The key {key} is in {keyring} and does not encrypt yet.
1. Bring the file to where the deployment runs. With Kubernetes (the kubelet swaps it within about a minute):
   kubectl -n portico create secret generic portico --from-file={secrets} --dry-run=client -o yaml |
     kubectl replace -f -
2. Wait until each api and worker says that it holds the key (exit code 0):
   for pod in $(kubectl -n portico get pods -o name -l 'app.kubernetes.io/component in (api, worker)'); do
     kubectl -n portico exec $pod -- portico keyring check {key} || echo "$pod: not yet"; done
3. portico keyring rotate {purpose} --folder {folder} --by-hand --known-everywhere
4. Bring the file there once more, as in 1."""
CARRY = """\
Now bring the changed files to where the deployment runs. With Kubernetes:
kubectl -n portico create secret generic portico --from-file={secrets} --dry-run=client -o yaml |
  kubectl replace -f -"""
FORMER_MASTER = """\
Backups made before open with the former master key only. It is kept in {path}: move it to where you keep your
copies, and delete it when you need none of those backups."""
VARIABLE = """\
The keyring now opens with the former and with the new master key. PORTICO_MASTER_KEY is a variable, which this
command cannot change:
1. Set PORTICO_MASTER_KEY to the content of {file}, or to file:{file}, wherever Portico and its commands start.
2. Restart every process: portico down, portico up --detach.
3. With the new variable, run `portico keyring rotate master` again: the former key opens nothing from then on.
Keep the former key for as long as you keep backups that were made with it."""

Purpose = Annotated[str, typer.Argument(help="payload, blob, live, seal or master")]
Folder = Annotated[
    Path | None, typer.Option("--folder", help="a deployment: where its secrets/ and .env are")
]
ByHand = Annotated[
    bool, typer.Option("--by-hand", help="the deployment of --folder runs elsewhere: print what to do there")
]
KnownEverywhere = Annotated[
    bool, typer.Option("--known-everywhere", help="with --by-hand: every process holds the new key, use it")
]
NewKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--new-key-file",
        help="of master, where PORTICO_MASTER_KEY is a variable: holds the new key; made if missing",
    ),
]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="seconds to wait for the running processes")]


@app.command("list")
def list_all(
    folder: Folder = None, as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False
) -> None:
    """Ids, purpose, age and state of every key; never a key itself."""
    from portico.crypto.holders import holders
    from portico.crypto.rotation import list_keys

    home = _home()
    keys = list_keys(_deployed(folder).keyring if folder else home.keyring)
    running = () if folder else holders(home)
    if as_json:
        print_json(
            {
                "keys": [
                    {"id": key.id, "purpose": key.purpose, "state": key.state, "made_at": _time(key)}
                    for key in keys
                ],
                "processes": [
                    {"part": holder.part, "pid": holder.pid, "holds": list(holder.key_ids)}
                    for holder in running
                ],
            }
        )
        return
    print_table([(key.purpose, key.id, key.state, _time(key)) for key in keys], empty="no keys")


@app.command()
def check(key_id: Annotated[str, typer.Argument(help="id of a key, as `list` prints it")]) -> None:
    """Whether every process of this home (or container) holds a key. Exit code 1 while one does not."""
    from operations.embedded.key_holders import missing_in
    from portico.crypto.rotation import list_keys

    home = _home()
    if key_id not in {key.id for key in list_keys(home.keyring)}:
        typer.echo(f"{home.keyring} does not hold {key_id} yet")
        raise typer.Exit(1)
    missing = missing_in(home, key_id)
    for line in missing:
        typer.echo(line)
    raise typer.Exit(1 if missing else 0)


@app.command()
def rotate(
    purpose: Purpose,
    folder: Folder = None,
    compose_file: ComposeFiles = None,
    project: Project = "",
    by_hand: ByHand = False,
    known_everywhere: KnownEverywhere = False,
    new_key_file: NewKeyFile = None,
    timeout: Timeout = 300,
) -> None:
    """Make a new key of a purpose, and use it once every running process holds it. Former keys go on decrypting.

    Stopped anywhere, the same command goes on. Nothing is encrypted again; only `master` wraps the data keys again.
    """
    from portico.crypto.rotation import check_purpose, rotation_lock, stored_in

    if (by_hand and folder is None) or (known_everywhere and not by_hand):
        raise typer.BadParameter("--by-hand needs --folder, and --known-everywhere needs --by-hand")
    if purpose != "master":
        check_purpose(purpose)
    home = _home()
    stored = _deployed(folder) if folder else stored_in(home)
    if not stored.keyring.exists():
        raise Misconfigured(f"{stored.keyring} is not there: nothing was encrypted yet")
    with rotation_lock(stored.keyring.parent):
        if purpose == "master":
            _rotate_master(home, stored, folder=folder, by_hand=by_hand, new_key_file=new_key_file)
            return
        if by_hand:
            _rotate_by_hand(stored, purpose, folder=folder or Path(), known_everywhere=known_everywhere)
        elif folder is not None:
            from operations.deploy import key_holders as of_containers

            compose = deployment(folder, compose_file, project)
            _rotate(
                home, stored, purpose, lambda key: of_containers.missing_in(compose, key), timeout_s=timeout
            )
        else:
            from operations.embedded import key_holders as of_processes

            _rotate(home, stored, purpose, lambda key: of_processes.missing_in(home, key), timeout_s=timeout)
    if purpose == "seal":
        _tell_edges(home, stored)


def _rotate(
    home: Home,
    stored: StoredKeyring,
    purpose: str,
    missing_in: Callable[[str], list[str]],
    *,
    timeout_s: float,
) -> None:
    """Announce, wait, use. Whatever stops it, the key stays known and the next call goes on with it."""
    from portico.crypto.rotation import announce_key, make_current

    key = announce_key(stored, purpose, master=_master(home, stored))
    typer.echo(f"{key.id}: known; waiting until every process holds it")
    _wait(key, missing_in, command=f"portico keyring rotate {purpose}", timeout_s=timeout_s)
    make_current(stored, key.id)
    typer.echo(f"{key.id}: current; former {purpose} keys go on decrypting")


def _wait(key: KeyInfo, missing_in: Callable[[str], list[str]], *, command: str, timeout_s: float) -> None:
    """Says what it waits for, once each time that changes. Raises `Misconfigured` at the end of its time."""
    end, told = time.monotonic() + timeout_s, [""]
    time.sleep(SETTLE_S)
    while missing := missing_in(key.id):
        if missing != told:
            for line in missing:
                typer.echo(f"  {line}")
        if time.monotonic() > end:
            raise Misconfigured(
                f"{missing[0]}; the key {key.id} is known and not used: give `{command}` again when this is mended"
            )
        told = missing
        time.sleep(POLL_S)


def _rotate_by_hand(stored: StoredKeyring, purpose: str, *, folder: Path, known_everywhere: bool) -> None:
    from portico.crypto.keyring import KNOWN
    from portico.crypto.rotation import announce_key, list_keys, make_current

    waiting = [key for key in list_keys(stored.keyring) if key.purpose == purpose and key.state == KNOWN]
    if known_everywhere:
        if not waiting:
            raise Misconfigured(f"there is no new {purpose} key: leave --known-everywhere out first")
        make_current(stored, waiting[0].id)
        typer.echo(f"{waiting[0].id}: current")
        typer.echo(CARRY.format(secrets=stored.keyring.parent))
        return
    key = announce_key(stored, purpose, master=_master(None, stored))
    facts = {"key": key.id, "purpose": purpose, "folder": folder, "keyring": stored.keyring}
    typer.echo(BY_HAND.format(secrets=stored.keyring.parent, **facts))


# --- master key ----------------------------------------------------------------------------------------


def _rotate_master(
    home: Home, stored: StoredKeyring, *, folder: Path | None, by_hand: bool, new_key_file: Path | None
) -> None:
    """Both master keys open the keyring from the first write to the last, so no process has to be waited for."""
    from portico.crypto.rotation import begin_master_rotation, end_master_rotation, replace_master_file

    if stored.master_key is None:
        _rotate_variable(home, stored, new_key_file)
        return
    if new_key_file is not None:
        raise Misconfigured(
            f"--new-key-file is for a variable; here {stored.master_key} holds the master key"
        )
    new = begin_master_rotation(stored, current=_master(home, stored), new=os.urandom(32))
    typer.echo("every data key is wrapped with the former and the new master key")
    former = stored.master_key.with_name(f"{stored.master_key.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    replace_master_file(stored, keep_as=former)
    typer.echo(f"{stored.master_key}: holds the new master key")
    end_master_rotation(stored, master=new)
    typer.echo("the former master key opens the keyring no more")
    if former.exists():
        typer.echo(FORMER_MASTER.format(path=former))
    if by_hand:
        typer.echo(CARRY.format(secrets=stored.keyring.parent))
    elif folder is not None:
        typer.echo("Running containers hold their keys; those that start read the new file.")


def _rotate_variable(home: Home, stored: StoredKeyring, new_key_file: Path | None) -> None:
    """In two calls: before and after the variable was changed."""
    from portico.crypto.keyring import read_master_key
    from portico.crypto.rotation import begin_master_rotation, end_master_rotation, opens_next_wrap
    from portico.private_files import write_private

    master = _master(home, stored)
    if opens_next_wrap(stored.keyring, master):
        end_master_rotation(stored, master=master)
        typer.echo("the former master key opens the keyring no more")
        return
    if new_key_file is None:
        raise Misconfigured(
            "PORTICO_MASTER_KEY is a variable, which this command cannot change: name a file for the new key with "
            "--new-key-file FILE, and it says how to go on"
        )
    write_private(new_key_file, base64.b64encode(os.urandom(32)) + b"\n", exclusive=True)
    begin_master_rotation(stored, current=master, new=read_master_key(new_key_file))
    typer.echo(VARIABLE.format(file=new_key_file.absolute()))


def _master(home: Home | None, stored: StoredKeyring) -> bytes:
    from portico.crypto.keyring import load_master_key, read_master_key
    from portico.crypto.rotation import finish_writing

    if stored.in_place and stored.master_key is not None:
        finish_writing(stored.master_key)
        return read_master_key(stored.master_key)
    return load_master_key(home or _home())


# --- places --------------------------------------------------------------------------------------------


def _tell_edges(home: Home, stored: StoredKeyring) -> None:
    """Edges seal with the key of their settings until these change; the former one still opens."""
    from portico.crypto.keyring import Keyring, unwrapped
    from portico.crypto.sealing import seal_public_key

    keys = unwrapped(stored.keyring, _master(home, stored))
    key_id, public = seal_public_key(Keyring(keys.keys))
    typer.echo(
        "Edges on other hosts go on with the former key, which still opens. For the new one, write into [edge]"
    )
    typer.echo(f'of each one\'s portico.toml and restart it:\nseal_key_id = "{key_id}"')
    typer.echo(f'seal_key = "{base64.b64encode(public).decode()}"')


def _home() -> Home:
    from portico.settings.home import Home

    return Home.from_environment()


def _deployed(folder: Path | None) -> StoredKeyring:
    from operations.deploy.secrets import FOLDER, KEYRING, MASTER_KEY
    from portico.crypto.rotation import StoredKeyring

    place = (folder or Path()).resolve() / FOLDER
    return StoredKeyring(place / KEYRING, place / MASTER_KEY, in_place=True)


def _time(key: KeyInfo) -> str:
    return datetime.fromtimestamp(key.made_at, UTC).isoformat(timespec="seconds")
