"""Blobs: media and large bodies in S3, encrypted before they leave this process.

A blob is `PB1`, the length of a key id, the key id, and AES-256-GCM over the content. Key id and object name
are its context: bytes that were moved to another name do not open.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidTag

from portico.contracts.messages import BlobRef
from portico.crypto.keyring import Keyring
from portico.errors import Misconfigured, NotFound, PorticoError, Unavailable, Unreadable
from portico.logs import logger
from portico.settings.connections import Connections

if TYPE_CHECKING:
    from minio import Minio

PREFIX = "blobs/"
PAYLOAD_PREFIX = "v0/"
"""Where Temporal's external storage puts large payloads."""
LIFECYCLE_RULE = "portico-payloads"
SPARE_DAYS = 7
REGION = "us-east-1"
_MAGIC = b"PB1"
_THREADS = 4
_CONNECT_S, _READ_S = 2.0, 15.0
_GONE = {"NoSuchKey", "NoSuchBucket", "NoSuchObject"}
_NOT_LET_IN = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
_NO_LIFECYCLE = {"NotImplemented", "MethodNotAllowed", "AccessDenied"}

T = TypeVar("T")
log = logger("blobs")


class BlobStore:
    """One client and a few threads, made when they are first needed."""

    def __init__(self, connections: Connections, keyring: Keyring) -> None:
        self._connections = connections
        self._keyring = keyring
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="blobs")
        self._making = threading.Lock()
        self._client: Minio | None = None

    async def ensure_bucket(self, *, retention_days: int = 30) -> bool:
        """Make the bucket. False where the server has no lifecycle rules: then call `prune` daily."""
        return await self._run(lambda: self._ensure_bucket(retention_days + SPARE_DAYS))

    async def examine(self) -> None:
        """Raises `Unavailable`, or `Misconfigured`: no bucket, wrong keys, or no object lock as set."""
        await self._run(self._examine)

    async def put(self, content: bytes) -> BlobRef:
        """Encrypt and store under a random name. Raises `Unavailable` where S3 is unavailable."""
        key = PREFIX + secrets.token_hex(16)
        await self._run(lambda: self._put(key, content))
        return BlobRef(key=key, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())

    async def get(self, ref: BlobRef) -> bytes:
        """The plain content. Raises `NotFound`, `Unreadable` (it was changed) or `Unavailable`."""
        return await self._run(lambda: self._get(ref))

    async def delete(self, ref: BlobRef) -> None:
        """Idempotent: a missing blob is not an error."""
        await self._run(lambda: self._connected().remove_object(self._bucket, ref.key))

    async def prune(self, before: float, *, prefix: str = PAYLOAD_PREFIX) -> int:
        """Delete what was stored before that time; how many. For servers without lifecycle rules."""
        return await self._run(lambda: self._prune(datetime.fromtimestamp(before, UTC), prefix))

    async def ready(self) -> bool:
        try:
            return await self._run(lambda: self._connected().bucket_exists(self._bucket))
        except PorticoError:
            return False

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def _bucket(self) -> str:
        return self._connections.bucket

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: _translated(work))

    def _connected(self) -> Minio:
        with self._making:
            if self._client is None:
                self._client = make_client(self._connections)
            return self._client

    # --- in a thread of the pool ------------------------------------------------------------------------

    def _put(self, key: str, content: bytes) -> None:
        from minio.error import S3Error

        data_key = self._keyring.current("blob")
        key_id = data_key.id.encode()
        sealed = data_key.encrypt(content, context=_context(key_id, key))
        body = _MAGIC + bytes([len(key_id)]) + key_id + sealed
        try:
            self._connected().put_object(self._bucket, key, io.BytesIO(body), len(body))
        except S3Error as error:
            if error.code != "NoSuchBucket":
                raise
            self._make_bucket()
            self._connected().put_object(self._bucket, key, io.BytesIO(body), len(body))

    def _get(self, ref: BlobRef) -> bytes:
        response = self._connected().get_object(self._bucket, ref.key)
        try:
            body: bytes = response.read()
        finally:
            response.close()
            response.release_conn()
        return self._opened(ref, body)

    def _opened(self, ref: BlobRef, body: bytes) -> bytes:
        if len(body) < len(_MAGIC) + 1 or not body.startswith(_MAGIC):
            raise Unreadable(f"blob {ref.key}", "it is not one of ours")
        start = len(_MAGIC) + 1
        key_id, sealed = body[start : start + body[start - 1]], body[start + body[start - 1] :]
        try:
            data_key = self._keyring.by_id(key_id.decode(errors="replace"))
            return data_key.decrypt(sealed, context=_context(key_id, ref.key))
        except (KeyError, InvalidTag, ValueError):
            raise Unreadable(f"blob {ref.key}", "it does not open with a key of this Portico") from None

    def _ensure_bucket(self, days: int) -> bool:
        from minio.error import S3Error

        client = self._connected()
        if not client.bucket_exists(self._bucket):
            self._make_bucket()
        try:
            return _expire_payloads(client, self._bucket, days)
        except S3Error as error:
            if error.code not in _NO_LIFECYCLE:
                raise
            log.info("blobs.no_lifecycle", code=error.code)
            return False

    def _examine(self) -> None:
        client = self._connected()
        if not client.bucket_exists(self._bucket):
            raise Misconfigured(
                f"S3 has no bucket {self._bucket}: `portico deploy prepare` makes it, or set storage.bucket"
            )
        if self._connections.object_lock and not _has_lock(client, self._bucket):
            raise Misconfigured(
                f"the bucket {self._bucket} has no object lock, which storage.object_lock asks for and which can only "
                "be given to a new bucket: set another storage.bucket, or storage.object_lock = false"
            )

    def _make_bucket(self) -> None:
        from minio.error import S3Error

        try:
            self._connected().make_bucket(self._bucket, object_lock=self._connections.object_lock)
        except S3Error as error:  # another process of the same first start created it
            if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise

    def _prune(self, before: datetime, prefix: str) -> int:
        client, pruned = self._connected(), 0
        for stored in client.list_objects(self._bucket, prefix=prefix, recursive=True):
            if stored.object_name and stored.last_modified and stored.last_modified < before:
                client.remove_object(self._bucket, stored.object_name)
                pruned += 1
        return pruned


def make_client(connections: Connections) -> Minio:
    """A client of S3. No retries (Temporal has them), no proxy of the environment, no question for the region."""
    import urllib3
    from minio import Minio

    url = urlsplit(connections.s3_url)
    return Minio(
        url.netloc,
        access_key=connections.s3_access_key,
        secret_key=connections.s3_secret_key.get_secret_value(),
        secure=url.scheme == "https",
        region=REGION,
        http_client=urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S), retries=False, maxsize=_THREADS
        ),
    )


def _has_lock(client: Minio, bucket: str) -> bool:
    from minio.error import S3Error

    try:
        client.get_object_lock_config(bucket)
    except S3Error as error:
        if error.code == "ObjectLockConfigurationNotFoundError":
            return False
        raise
    except ValueError:  # the client cannot read a lock without a retention of its own
        return True
    return True


def _expire_payloads(client: Minio, bucket: str, days: int) -> bool:
    """Adds our rule to existing ones. True if the server returns it when read back."""
    from minio.commonconfig import ENABLED, Filter
    from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule

    wanted = Rule(
        ENABLED,
        rule_filter=Filter(prefix=PAYLOAD_PREFIX),
        rule_id=LIFECYCLE_RULE,
        expiration=Expiration(days=days),
    )
    there = client.get_bucket_lifecycle(bucket)
    others = [rule for rule in there.rules if rule.rule_id != LIFECYCLE_RULE] if there else []
    client.set_bucket_lifecycle(bucket, LifecycleConfig([*others, wanted]))
    kept = client.get_bucket_lifecycle(bucket)
    return kept is not None and any(
        rule.rule_id == LIFECYCLE_RULE and rule.expiration and rule.expiration.days == days
        for rule in kept.rules
    )


def _context(key_id: bytes, key: str) -> bytes:
    return b"portico blob v1|" + key_id + b"|" + key.encode()


def _translated(work: Callable[[], T]) -> T:
    from minio.error import MinioException, S3Error
    from urllib3.exceptions import HTTPError

    try:
        return work()
    except S3Error as error:
        if error.code in _GONE:
            raise NotFound("the blob") from error
        if error.code in _NOT_LET_IN:
            raise Misconfigured(f"S3 does not let Portico in ({error.code}); check [storage]") from error
        raise Unavailable("s3", str(error.code)) from error
    except (MinioException, HTTPError, OSError) as error:
        raise Unavailable("s3", type(error).__name__) from error
