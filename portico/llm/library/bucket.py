"""Folders in S3: boto3 only signs the addresses, the guarded client fetches them."""

from __future__ import annotations

import urllib.parse
from contextlib import AbstractAsyncContextManager
from typing import Any
from xml.etree import ElementTree

from portico.errors import BadInput, NotFound
from portico.llm.library.sources import FILES, Reading, SourceFile, checked_path, files_of, reading
from portico.llm.library.store import MANIFEST
from portico.llm.library.web import WebClient

SIGNED_S = 6 * 3600


class BucketSource:
    """`s3://BUCKET/PREFIX`. Checksums come from a `manifest.json` there; without one, ETags are compared."""

    def __init__(self, url: str, server: str, keys: tuple[str, str], *, region: str, web: WebClient) -> None:
        parts = urllib.parse.urlsplit(url)
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/") + "/" if parts.path.strip("/") else ""
        self._web = web
        self._signer = _signer(server, keys, region)
        self.told = f"s3://{self._bucket}/{self._prefix}".rstrip("/")
        if not self._bucket:
            raise BadInput("give the place as s3://BUCKET/PREFIX")

    async def files(self) -> list[SourceFile]:
        listed = await self._listed()
        if not listed:
            raise NotFound(f"anything at {self.told}")
        if any(file.path == MANIFEST for file in listed):
            return files_of(await self._web.get(self._address(MANIFEST)), self.told)
        return listed

    def read(self, file: SourceFile, start: int) -> AbstractAsyncContextManager[Reading]:
        return reading(self._web, self._address(file.path), start)

    async def _listed(self) -> list[SourceFile]:
        found: list[SourceFile] = []
        more: dict[str, str] = {}
        while len(found) <= FILES:
            asked = {"Bucket": self._bucket, "Prefix": self._prefix, **more}
            url = self._signer.generate_presigned_url("list_objects_v2", Params=asked, ExpiresIn=SIGNED_S)
            page = _read(await self._web.get(url), self.told)
            for entry in page.iterfind("{*}Contents"):
                name = urllib.parse.unquote_plus(_text(entry, "Key")).removeprefix(self._prefix)
                if name and not name.endswith("/"):
                    size, tag = int(_text(entry, "Size") or 0), _text(entry, "ETag").strip('"')
                    found.append(SourceFile(checked_path(name), size, tag=tag))
            token = _text(page, "NextContinuationToken")
            if not token:
                return found
            more = {"ContinuationToken": token}
        raise BadInput(f"{self.told} has too many files to be one model")

    def _address(self, path: str) -> str:
        wanted = {"Bucket": self._bucket, "Key": self._prefix + path}
        return str(self._signer.generate_presigned_url("get_object", Params=wanted, ExpiresIn=SIGNED_S))


def _signer(server: str, keys: tuple[str, str], region: str) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(signature_version="s3v4", s3={"addressing_style": "path"})
    return boto3.client(
        "s3",
        endpoint_url=server,
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        region_name=region,
        config=config,
    )


def _read(raw: bytes, where: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(raw)
    except ElementTree.ParseError:
        raise BadInput(f"{where} does not answer as S3 does") from None


def _text(element: ElementTree.Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""
