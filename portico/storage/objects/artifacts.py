"""Files that runs of tools keep with their results: encrypted blobs, found by run and name."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from portico.contracts.messages import Artifact, BlobRef
from portico.errors import BadInput, NotFound, TooLarge
from portico.storage.engine.database import Database
from portico.storage.engine.sqlcipher import Connection
from portico.storage.engine.values import Sought
from portico.storage.objects.blobs import BlobStore
from portico.storage.objects.paths import clean_path

LARGEST_BYTES = 100 << 20
MOST_ARTIFACTS = 64
OUTPUT = "/output"
"""Not a name that `artifact_name` returns."""
_COLUMNS = (
    *("invocation_id", "name", "person_id", "media_type", "size_bytes", "blob_key", "sha256", "created_at"),
)


@dataclass(frozen=True)
class KeptArtifact:
    """Owner and storage location of an artifact."""

    name: str
    media_type: str
    person_id: str
    blob: BlobRef


class Artifacts:
    def __init__(self, db: Database, blobs: BlobStore) -> None:
        self._db = db
        self._blobs = blobs

    async def keep(
        self, invocation_id: str, name: str, data: bytes, media_type: str, *, person_id: str
    ) -> Artifact:
        """Store it; the last one of a name counts. Raises `BadInput`, `TooLarge` or `Unavailable`."""
        name = artifact_name(name)
        await self._put(invocation_id, name, data, media_type[:255], person_id)
        return Artifact(
            name=name,
            media_type=media_type[:255],
            size_bytes=len(data),
            url=f"/v1/invocations/{quote(invocation_id)}/artifacts/{quote(name)}",
        )

    async def keep_output(self, invocation_id: str, data: bytes, *, person_id: str) -> BlobRef:
        """An output that is too large for a payload: kept as long, under a name that no artifact can have."""
        return await self._put(invocation_id, OUTPUT, data, "application/json", person_id)

    async def _put(
        self, invocation_id: str, name: str, data: bytes, media_type: str, person_id: str
    ) -> BlobRef:
        if len(data) > LARGEST_BYTES:
            raise TooLarge(f"the artifact {name}", limit_bytes=LARGEST_BYTES)
        blob = await self._blobs.put(data)
        values = (invocation_id, name, person_id, media_type, len(data), blob.key, blob.sha256, time.time())

        def work(connection: Connection) -> str | None:
            old = connection.execute(
                "SELECT blob_key FROM artifacts WHERE invocation_id = ? AND name = ?", (invocation_id, name)
            ).fetchone()
            count = connection.execute(
                "SELECT count(*) AS n FROM artifacts WHERE invocation_id = ?", (invocation_id,)
            ).fetchone()["n"]
            if old is None and count >= MOST_ARTIFACTS and name != OUTPUT:
                raise BadInput(f"a run keeps at most {MOST_ARTIFACTS} artifacts")
            connection.execute(
                "INSERT OR REPLACE INTO artifacts "
                "(invocation_id, name, person_id, media_type, size_bytes, blob_key, sha256, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            return str(old["blob_key"]) if old is not None else None

        try:
            old = await self._db.write(work, durable=True)
        except BadInput:
            await self._blobs.delete(blob)
            raise
        if old is not None:
            await self._blobs.delete(BlobRef(key=old, size_bytes=0))
        return blob

    async def find(self, invocation_id: str, name: str) -> KeptArtifact:
        """Raises `NotFound`."""
        if name == OUTPUT:
            raise NotFound("the artifact")

        def work(connection: Connection) -> Any:
            return connection.execute(
                "SELECT * FROM artifacts WHERE invocation_id = ? AND name = ?", (invocation_id, Sought(name))
            ).fetchone()

        row = await self._db.read(work)
        if row is None:
            raise NotFound("the artifact")
        blob = BlobRef(key=row["blob_key"], size_bytes=row["size_bytes"], sha256=row["sha256"])
        return KeptArtifact(row["name"], row["media_type"], row["person_id"], blob)

    async def content(self, artifact: KeptArtifact) -> bytes:
        return await self._blobs.get(artifact.blob)

    async def prune(self, before: float, *, most: int = 500) -> int:
        """Delete what runs kept before that time; how many."""

        def work(connection: Connection) -> list[str]:
            rows = connection.execute(
                "DELETE FROM artifacts WHERE (invocation_id, name) IN "
                "(SELECT invocation_id, name FROM artifacts WHERE created_at < ? LIMIT ?) "
                "RETURNING blob_key",
                (before, most),
            ).fetchall()
            return [str(row["blob_key"]) for row in rows]

        keys = await self._db.write(work)
        for key in keys:
            await self._blobs.delete(BlobRef(key=key, size_bytes=0))
        return len(keys)


def artifact_name(name: str) -> str:
    """The last part of a path, as a name. Raises `BadInput`."""
    try:
        return clean_path(name).rpartition("/")[2]
    except ValueError as error:
        raise BadInput(f"an artifact cannot be named so: {error}") from None
