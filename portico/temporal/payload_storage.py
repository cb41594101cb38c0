"""Large Temporal payloads in S3. They are ciphertext already: the codec runs before they are stored.

Where Temporal holds a reference that is none of ours, or that leads to nothing, the codec gets what is no ciphertext,
and decides. An error would fail the workflow task for ever; one is raised only where S3 itself does not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.contrib.aws.s3driver import S3StorageDriver, S3StorageDriverClient
from temporalio.converter import ExternalStorage, StorageDriverClaim, StorageDriverRetrieveContext

from portico.logs import logger
from portico.settings.connections import Connections

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

THRESHOLD_BYTES = 96 * 1024
"""Over the largest signal (64 KiB), below what a run may carry into the next one's history (100 KB)."""
REGION = "us-east-1"
_THREADS = 4
_CLAIM_KEYS = {"bucket", "key", "hash_algorithm", "hash_value"}

T = TypeVar("T")

log = logger("temporal")


def payload_storage(connections: Connections) -> ExternalStorage:
    """What the data converter needs to keep large payloads out of Temporal's database."""
    driver = _Driver(_Boto3Client(connections), connections.bucket)
    return _OwnReferences(drivers=[driver], payload_size_threshold=THRESHOLD_BYTES)


class _OwnReferences(ExternalStorage):
    """Follows the references that this driver writes, and no others."""

    def _decode_reference(self, payload: Payload) -> ExternalStorageReference | None:
        try:
            reference = super()._decode_reference(payload)
        except (RuntimeError, TypeError, ValueError):
            return None
        if reference is None or reference.driver_name != self.drivers[0].name():
            return None
        return reference if set(reference.claim_data) >= _CLAIM_KEYS else None


class _Driver(S3StorageDriver):
    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        return list(await asyncio.gather(*(self._one(context, claim) for claim in claims)))

    async def _one(self, context: StorageDriverRetrieveContext, claim: StorageDriverClaim) -> Payload:
        try:
            (stored,) = await super().retrieve(context, [claim])
        except (ValueError, DecodeError):
            cause = "it is not what the reference says"
        except RuntimeError as error:
            if not _says_it_is_not_there(error.__cause__):
                raise
            cause = "it is not there"
        else:
            return stored
        log.warning("payload.refused", cause=cause)
        return Payload()


class _Boto3Client(S3StorageDriverClient):
    """boto3 in a few threads; imported and connected when the first large payload comes."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="payloads")
        self._making = threading.Lock()
        self._client: S3Client | None = None

    async def put_object(self, *, bucket: str, key: str, data: bytes) -> None:
        await self._run(lambda client: _put(client, bucket, key, data))

    async def object_exists(self, *, bucket: str, key: str) -> bool:
        return await self._run(lambda client: _exists(client, bucket, key))

    async def get_object(self, *, bucket: str, key: str) -> bytes:
        return await self._run(lambda client: client.get_object(Bucket=bucket, Key=key)["Body"].read())

    async def _run(self, work: Callable[[S3Client], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(self._connected()))

    def _connected(self) -> S3Client:
        with self._making:
            if self._client is None:
                self._client = _make_client(self._connections)
            return self._client


def _make_client(connections: Connections) -> S3Client:
    """One quick try (Temporal repeats the task); no proxy, profile or role of the environment."""
    import boto3
    from botocore.config import Config

    client: S3Client = boto3.client(
        "s3",
        endpoint_url=connections.s3_url,
        aws_access_key_id=connections.s3_access_key,
        aws_secret_access_key=connections.s3_secret_key.get_secret_value(),
        region_name=REGION,
        config=Config(
            proxies={"http": None, "https": None},
            connect_timeout=2,
            read_timeout=15,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
            max_pool_connections=_THREADS,
        ),
    )
    return client


def _put(client: S3Client, bucket: str, key: str, data: bytes) -> None:
    """Create the bucket with the first payload."""
    try:
        client.put_object(Bucket=bucket, Key=key, Body=data)
    except client.exceptions.NoSuchBucket:
        with contextlib.suppress(
            client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists
        ):
            client.create_bucket(Bucket=bucket)
        client.put_object(Bucket=bucket, Key=key, Body=data)


def _exists(client: S3Client, bucket: str, key: str) -> bool:
    from botocore.exceptions import ClientError

    try:
        client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if _says_it_is_not_there(error):
            return False
        raise
    return True


def _says_it_is_not_there(error: BaseException | None) -> bool:
    from botocore.exceptions import ClientError

    status = error.response.get("ResponseMetadata", {}) if isinstance(error, ClientError) else {}
    return status.get("HTTPStatusCode") == 404
