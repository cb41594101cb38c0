"""`portico deploy backup|restore`, and what the two run inside the deployment."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from entrypoints.cli.backup import (
    Archive,
    CheckOnly,
    MasterKey,
    Passphrase,
    PassphraseFile,
    Replace,
    Target,
    chosen_passphrase,
    readable,
    tell,
    told,
    unlocking,
    whole_file,
)

if TYPE_CHECKING:
    from operations.deploy.compose import Compose

CHECKOUT = Path(__file__).resolve().parents[3]
FolderOption = Annotated[Path, typer.Option("--folder", help="where the deployment's secrets and .env lie")]
ComposeFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--compose-file", "-f", help="as docker compose -f; may be given again [default: compose.yaml]"
    ),
]
Project = Annotated[str, typer.Option("--project", "-p", help="as docker compose -p")]
SavedOrLoaded = Annotated[str, typer.Argument(help="save or load")]
MadeAt = Annotated[float, typer.Option("--made-at")]


def backup(
    target: Target,
    folder: FolderOption = Path(),
    compose_file: ComposeFiles = None,
    project: Project = "",
    passphrase: Passphrase = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Save a running deployment in one encrypted file: databases, objects, secrets, settings.

    It opens with secrets/master_key, which is not in it: keep a copy of that elsewhere. With a passphrase all secrets
    are in it, and the passphrase is all that is needed.
    """
    from operations.backup.sealed_stream import Lock
    from operations.deploy.backup import head_of, master_key, save_deployment
    from operations.deploy.secrets import FOLDER
    from portico.crypto.rotation import rotation_lock

    compose = deployment(folder, compose_file, project)
    chosen = chosen_passphrase(passphrase, passphrase_file, confirm=True)
    with rotation_lock(compose.folder / FOLDER, shared=True):
        lock = Lock("passphrase", chosen) if chosen else Lock("master", master_key(compose.folder))
        head = head_of(compose, lock)
        with whole_file(target) as out:
            save_deployment(compose, out, head=head, lock=lock, tell=tell)
    if target != "-":
        tell(f"{target}: {Path(target).stat().st_size / 1024 / 1024:.1f} MiB")


def restore(
    archive: Archive,
    folder: FolderOption = Path(),
    compose_file: ComposeFiles = None,
    project: Project = "",
    replace: Replace = False,
    check: CheckOnly = False,
    passphrase: Passphrase = False,
    passphrase_file: PassphraseFile = None,
    master_key: MasterKey = None,
) -> None:
    """Put a backup in the place of a deployment's data, after all of it was checked.

    Starts PostgreSQL and S3, stops everything else; `docker compose up --wait` starts it again.
    """
    from operations.backup.restore import check_archive
    from operations.deploy.backup import MASTER_KEY
    from operations.deploy.restore import restore_deployment
    from operations.deploy.secrets import FOLDER

    compose = deployment(folder, compose_file, project)
    readable(archive)
    lock, master = unlocking(
        home_master=compose.folder / FOLDER / MASTER_KEY,
        given=master_key,
        passphrase=chosen_passphrase(passphrase, passphrase_file, confirm=False),
    )
    if check:
        _, count = check_archive(archive, lock, kind="compose", temporal="")
        tell(f"the archive is whole: {count} files")
        return
    with told(str(compose.folder)):
        restore_deployment(compose, archive, lock, replace=replace, master=master, tell=tell)


def objects(what: SavedOrLoaded) -> None:
    """Inside the deployment: the bucket's objects to standard output, or from standard input."""
    from operations.deploy import objects as streams
    from operations.deploy.prepare import patiently
    from portico.crypto.keyring import open_keyring
    from portico.settings.connections import connect_to
    from portico.settings.home import Home
    from portico.settings.load import load_settings
    from portico.storage.objects.blobs import BlobStore

    home = Home.from_environment()
    home.make()
    settings = load_settings(home)
    connections = connect_to(settings, home)
    store = BlobStore(connections, open_keyring(home))
    days = settings.temporal.retention_days

    async def there() -> None:
        await store.ensure_bucket(retention_days=days)

    asyncio.run(patiently("bucket", there))
    if what == "save":
        known = set(sys.stdin.buffer.read().decode().split("\n"))
        streams.save(connections, sys.stdout.buffer, known=known)
        sys.stdout.buffer.flush()
    elif what == "load":
        streams.load(connections, sys.stdin.buffer)
    else:
        raise typer.BadParameter("save or load", param_hint="what")


def restored(made_at: MadeAt) -> None:
    """Inside the deployment: the database's rows are back; bring them to this version's schema and mark them."""
    from portico.crypto.keyring import open_keyring
    from portico.errors import Misconfigured
    from portico.settings.home import Home
    from portico.settings.load import load_settings
    from portico.storage.engine.restored import mark_restored_server

    home = Home.from_environment()
    home.make()
    url = load_settings(home).database.url
    if url is None:
        raise Misconfigured("database.url is not set")
    mark_restored_server(url.get_secret_value(), open_keyring(home), made_at=made_at, now=time.time())


def deployment(folder: Path, files: list[Path] | None, project: str) -> Compose:
    from operations.deploy.compose import Compose

    chosen = tuple(path.resolve() for path in files or (CHECKOUT / "compose.yaml",))
    return Compose(folder.resolve(), chosen, project)
