"""The objects of a bucket as one stream, and back. Their content is encrypted already.

Runs inside the deployment, where S3 can be reached, as `portico deploy objects save|load`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, Any, BinaryIO, cast

from operations.backup.entries import Entry, EntryWriter, read_entries
from portico.settings.connections import Connections
from portico.storage.objects.blobs import make_client

READ_BYTES = 256 * 1024
PART_BYTES = 16 * 1024 * 1024


def save(connections: Connections, out: IO[bytes], *, known: set[str]) -> int:
    """Write every object whose name is not known; how many."""
    writer = EntryWriter(out)
    client = make_client(connections)
    if client.bucket_exists(connections.bucket):
        for found in client.list_objects(connections.bucket, recursive=True):
            name = found.object_name
            if name and name not in known and not found.is_dir:
                _save(client, connections.bucket, name, writer)
    writer.finish()
    return writer.count


def load(connections: Connections, source: IO[bytes]) -> int:
    """Put every object of the stream, and delete what is there besides; how many were put. The bucket is there."""
    client, put = make_client(connections), set()
    for entry, content in read_entries(iter(lambda: source.read(READ_BYTES), b"")):
        body = cast(BinaryIO, _Read(content))
        client.put_object(connections.bucket, entry.name, body, length=-1, part_size=PART_BYTES)
        put.add(entry.name)
    for found in client.list_objects(connections.bucket, recursive=True):
        if found.object_name and found.object_name not in put:
            client.remove_object(connections.bucket, found.object_name)
    return len(put)


def _save(client: Any, bucket: str, name: str, writer: EntryWriter) -> None:
    """One that was deleted meanwhile is named by nothing any more."""
    from minio.error import S3Error

    try:
        answer = client.get_object(bucket, name)
    except S3Error as error:
        if error.code == "NoSuchKey":
            return
        raise
    try:
        writer.add(Entry(name), answer.stream(READ_BYTES))
    finally:
        answer.close()
        answer.release_conn()


class _Read(io.BufferedIOBase):
    """Pieces as a file, which is what the client wants."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        while size is None or size < 0 or len(self._left) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._left += piece
        end = len(self._left) if size is None or size < 0 else size
        taken, self._left = self._left[:end], self._left[end:]
        return taken
