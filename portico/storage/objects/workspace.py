"""Workspaces: each person's own files, as rows and encrypted blobs. No path is ever one of the machine's."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from portico.contracts.messages import BlobRef
from portico.errors import BadInput, Conflict, NotFound, TooLarge
from portico.storage.engine.database import Database
from portico.storage.engine.sqlcipher import Connection
from portico.storage.engine.statements import put
from portico.storage.engine.values import Sought
from portico.storage.objects.blobs import BlobStore
from portico.storage.objects.paths import clean_path, clean_prefix
from portico.tool import WorkspaceFile
from portico.tool_types import media_type_of

LARGEST_BYTES = 100 << 20
MOST_FILES = 20_000
_COLUMNS = ("person_id", "path", "media_type", "size_bytes", "blob_key", "sha256", "modified_at")


class WorkspaceStore:
    """Every method takes the person whose files are meant; there is no way to name another's."""

    def __init__(self, db: Database, blobs: BlobStore, *, quota_bytes: int = 2 << 30) -> None:
        self._db = db
        self._blobs = blobs
        self._quota_bytes = quota_bytes

    async def list(self, person_id: str, prefix: str = "") -> list[WorkspaceFile]:
        start = _prefix(prefix)

        def work(connection: Connection) -> list[WorkspaceFile]:
            rows = connection.execute("SELECT * FROM workspace_files WHERE person_id = ?", (person_id,))
            files = [_file(row) for row in rows if row["path"].startswith(start)]
            return sorted(files, key=lambda file: file.path)

        return await self._db.read(work)

    async def stat(self, person_id: str, path: str) -> WorkspaceFile | None:
        row = await self._row(person_id, _path(path))
        return _file(row) if row is not None else None

    async def read(self, person_id: str, path: str) -> bytes:
        """Raises `NotFound`, `BadInput` or `Unavailable`."""
        path = _path(path)
        row = await self._row(person_id, path)
        if row is None:
            raise NotFound(f"the file {path}")
        blob = BlobRef(key=row["blob_key"], size_bytes=row["size_bytes"], sha256=row["sha256"])
        return await self._blobs.get(blob)

    async def write(self, person_id: str, path: str, data: bytes, media_type: str = "") -> WorkspaceFile:
        """Make or replace a file. Raises `TooLarge` over the largest size or the person's quota."""
        path = _path(path)
        if len(data) > LARGEST_BYTES:
            raise TooLarge(f"the file {path}", limit_bytes=LARGEST_BYTES)
        blob = await self._blobs.put(data)
        made = WorkspaceFile(path, len(data), media_type[:255] or media_type_of(path), datetime.now(UTC))

        def work(connection: Connection) -> str | None:
            old = _find(connection, person_id, path)
            self._check_room(connection, person_id, made, old)
            connection.execute(
                put("workspace_files", _COLUMNS, key=("person_id", "path")),
                (
                    person_id,
                    Sought(path),
                    made.media_type,
                    made.size_bytes,
                    blob.key,
                    blob.sha256,
                    time.time(),
                ),
            )
            return str(old["blob_key"]) if old is not None else None

        try:
            old = await self._db.write(work, durable=True)
        except (TooLarge, BadInput):
            await self._blobs.delete(blob)
            raise
        if old is not None:
            await self._blobs.delete(BlobRef(key=old, size_bytes=0))
        return made

    async def move(self, person_id: str, path: str, to: str) -> WorkspaceFile:
        """Raises `NotFound`, or `Conflict` where something is there already."""
        path, to = _path(path), _path(to)

        def work(connection: Connection) -> WorkspaceFile:
            row = _find(connection, person_id, path)
            if row is None:
                raise NotFound(f"the file {path}")
            if path != to and _find(connection, person_id, to) is not None:
                raise Conflict(f"there is a file {to} already")
            _refuse_nesting(connection, person_id, to, besides=path)
            connection.execute(
                "UPDATE workspace_files SET path = ? WHERE person_id = ? AND path = ?",
                (Sought(to), person_id, Sought(path)),
            )
            return replace(_file(row), path=to)

        return await self._db.write(work, durable=True)

    async def delete(self, person_id: str, path: str) -> None:
        """Raises `NotFound`."""
        path = _path(path)

        def work(connection: Connection) -> str | None:
            row = connection.execute(
                "DELETE FROM workspace_files WHERE person_id = ? AND path = ? RETURNING blob_key",
                (person_id, Sought(path)),
            ).fetchone()
            return str(row["blob_key"]) if row is not None else None

        key = await self._db.write(work, durable=True)
        if key is None:
            raise NotFound(f"the file {path}")
        await self._blobs.delete(BlobRef(key=key, size_bytes=0))

    async def _row(self, person_id: str, path: str) -> Any:
        return await self._db.read(lambda connection: _find(connection, person_id, path))

    def _check_room(self, connection: Connection, person_id: str, made: WorkspaceFile, old: Any) -> None:
        used = connection.execute(
            "SELECT count(*) AS n, coalesce(sum(size_bytes), 0) AS size FROM workspace_files WHERE person_id = ?",
            (person_id,),
        ).fetchone()
        freed = old["size_bytes"] if old is not None else 0
        if used["size"] - freed + made.size_bytes > self._quota_bytes:
            raise TooLarge("the workspace with this file", limit_bytes=self._quota_bytes)
        if old is None:
            if used["n"] >= MOST_FILES:
                raise BadInput(f"a workspace holds at most {MOST_FILES} files")
            _refuse_nesting(connection, person_id, made.path)


def _refuse_nesting(connection: Connection, person_id: str, path: str, *, besides: str = "") -> None:
    """A name is a file or a folder, never both: else the workspace could not be unpacked anywhere."""
    parts = path.split("/")
    above = {"/".join(parts[:count]) for count in range(1, len(parts))}
    # Paths may be encrypted one by one, so that only equal ones can be found in SQL; a workspace is small.
    rows = connection.execute("SELECT path FROM workspace_files WHERE person_id = ?", (person_id,))
    for row in rows.fetchall():
        there = row["path"]
        if there != besides and (there in above or there.startswith(path + "/")):
            raise BadInput(f"{there} is there: a name is a file or a folder, not both")


def _find(connection: Connection, person_id: str, path: str) -> Any:
    return connection.execute(
        "SELECT * FROM workspace_files WHERE person_id = ? AND path = ?", (person_id, Sought(path))
    ).fetchone()


def _file(row: Any) -> WorkspaceFile:
    return WorkspaceFile(
        path=row["path"],
        size_bytes=row["size_bytes"],
        media_type=row["media_type"],
        modified_at=datetime.fromtimestamp(row["modified_at"], UTC),
    )


def _path(path: str) -> str:
    try:
        return clean_path(path)
    except ValueError as error:
        raise BadInput(str(error)) from None


def _prefix(prefix: str) -> str:
    try:
        return clean_prefix(prefix)
    except ValueError as error:
        raise BadInput(str(error)) from None
