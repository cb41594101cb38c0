"""`portico backup` and `portico restore`: all of a home in one encrypted file, and back."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from portico.errors import Misconfigured

if TYPE_CHECKING:
    from operations.backup.sealed_stream import Lock
    from portico.settings.home import Home

SHORTEST_PASSPHRASE = 12

Target = Annotated[str, typer.Argument(help="the file to write, which must not exist; - is standard output")]
Archive = Annotated[Path, typer.Argument(help="a file that `portico backup` wrote")]
Passphrase = Annotated[
    bool,
    typer.Option("--passphrase", help="locked by a passphrase, which is asked for, not by the master key"),
]
PassphraseFile = Annotated[
    Path | None, typer.Option("--passphrase-file", help="as --passphrase, read from the first line of a file")
]
MasterKey = Annotated[
    Path | None, typer.Option("--master-key", help="file with the master key [default: that of this home]")
]
Replace = Annotated[bool, typer.Option("--replace", help="put it in the place of what is there")]
CheckOnly = Annotated[bool, typer.Option("--check", help="read all of the archive and change nothing")]


def backup(target: Target, passphrase: Passphrase = False, passphrase_file: PassphraseFile = None) -> None:
    """Save everything of this home, running or not, in one encrypted file.

    It opens with the master key, which is not in it: keep a copy of that elsewhere. With a passphrase the master key
    is in it, and the passphrase is all that is needed.
    """
    from operations.backup import home_archive
    from portico.crypto.rotation import rotation_lock
    from portico.settings.home import Home
    from portico.settings.load import load_settings

    home = Home.from_environment()
    if not home.database.exists():
        raise Misconfigured(f"{home.root} holds no Portico yet: there is nothing to back up")
    home.make()
    home_archive.refuse_what_lies_elsewhere(load_settings(home))
    chosen = chosen_passphrase(passphrase, passphrase_file, confirm=True)
    with rotation_lock(home.root, shared=True):
        _save(home, target, chosen)
    if target != "-":
        tell(f"{target}: {Path(target).stat().st_size / 1024 / 1024:.1f} MiB")


def _save(home: Home, target: str, passphrase: bytes | None) -> None:
    from operations.backup import home_archive
    from operations.backup.sealed_stream import Lock, StreamHeader
    from portico.crypto.keyring import load_master_key, open_keyring
    from portico.version import portico_version, temporal_version

    keyring = open_keyring(home)
    master = load_master_key(home)
    lock = Lock("passphrase", passphrase) if passphrase else Lock("master", master)
    head = StreamHeader(
        kind="embedded",
        version=portico_version(),
        schema=home_archive.schema_of(home, keyring),
        made_at=time.time(),
        locked_by=lock.by,
        temporal=temporal_version(),
    )
    with whole_file(target) as out:
        home_archive.save_home(home, keyring, out, head=head, lock=lock, master=master, tell=tell)


def restore(
    archive: Archive,
    replace: Replace = False,
    check: CheckOnly = False,
    passphrase: Passphrase = False,
    passphrase_file: PassphraseFile = None,
    master_key: MasterKey = None,
) -> None:
    """Put a backup in the place of this home, after all of it was checked. Portico must not run."""
    from operations.backup.restore import check_archive, restore_home, where_it_lies
    from operations.embedded.state import SupervisorLock
    from portico.settings.home import Home
    from portico.version import temporal_version

    home = Home.from_environment()
    archive, home_master = where_it_lies(home, archive), where_it_lies(home, home.master_key)
    lock, master = unlocking(
        home_master=home_master,
        given=master_key and where_it_lies(home, master_key),
        passphrase=chosen_passphrase(
            passphrase, passphrase_file and where_it_lies(home, passphrase_file), confirm=False
        ),
    )
    readable(archive)
    if check:
        _, count = check_archive(archive, lock, kind="embedded", temporal=temporal_version())
        tell(f"the archive is whole: {count} files and folders")
        return
    for folder in (home.root, home.run):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = SupervisorLock(home)
    held.acquire()
    try:
        with told(str(home.root)):
            replaced = restore_home(home, archive, lock, replace=replace, master=master, tell=tell)
    finally:
        held.release()
    if replaced is not None:
        tell(f"what was there lies in {replaced}; delete it when you are content")


def tell(line: str) -> None:
    typer.echo(line, err=True)


def readable(archive: Path) -> None:
    if not archive.is_file() or not os.access(archive, os.R_OK):
        raise Misconfigured(f"{archive} is not there or cannot be read")


def chosen_passphrase(asked: bool, file: Path | None, *, confirm: bool) -> bytes:
    """Empty where neither option was given. Raises `Misconfigured` for a weak one of a new archive."""
    from portico.settings.secret_files import read_secret_file

    if file is not None:
        chosen = read_secret_file(file, wanted_by="--passphrase-file").partition("\n")[0].strip()
    elif asked:
        if not sys.stdin.isatty():
            raise Misconfigured("--passphrase asks at a terminal; use --passphrase-file in scripts")
        chosen = typer.prompt("passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    else:
        return b""
    if confirm and len(chosen) < SHORTEST_PASSPHRASE:
        raise Misconfigured(f"a passphrase of a backup has at least {SHORTEST_PASSPHRASE} characters")
    return str(chosen).encode()


def unlocking(*, home_master: Path, given: Path | None, passphrase: bytes) -> tuple[Lock, bytes | None]:
    """What opens an archive, and the master key that its home is then opened with (None: the one inside)."""
    from operations.backup.sealed_stream import Lock
    from portico.crypto.keyring import master_key_from_environment, read_master_key

    if passphrase:
        return Lock("passphrase", passphrase), None
    known = master_key_from_environment() if given is None else None
    master = known or read_master_key(given or home_master)
    return Lock("master", master), master


@contextmanager
def whole_file(target: str) -> Iterator[IO[bytes]]:
    """The file gets its name when it is whole and on the disk. Raises `Misconfigured`."""
    if target == "-":
        if sys.stdout.isatty():
            raise Misconfigured("a backup is no text for a terminal: name a file, or use a pipe")
        # A file of its own: what a broken pipe leaves in Python's standard output fails again at the very end.
        with told("standard output"), os.fdopen(os.dup(sys.stdout.fileno()), "wb") as file:
            yield file
        return
    path = Path(target)
    if path.exists():
        raise Misconfigured(f"{path} is there already; choose another name")
    from portico.private_files import sync_folder

    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with told(str(path)):
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _name(beside, path)
            sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def _name(beside: Path, path: Path) -> None:
    """Raises `FileExistsError` if another process was faster.

    exFAT, FAT and many file systems of a network have no hard links: there the name is taken first.
    """
    try:
        os.link(beside, path)
    except FileExistsError:
        raise
    except OSError:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            beside.replace(path)
        except OSError:
            path.unlink()
            raise


@contextmanager
def told(place: str) -> Iterator[None]:
    """No space, no permission, a closed pipe: one line. Raises `Misconfigured`."""
    try:
        yield
    except OSError as error:
        raise Misconfigured(f"{error.filename or place}: {error.strerror or type(error).__name__}") from None
