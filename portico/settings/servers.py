"""Tables of the settings: object storage, database, Temporal, and those of an edge for webhooks alone."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from portico.contracts.names import Queue
from portico.settings.table import Secret, Table, Text


class StorageSettings(Table):
    url: str = Field("", description="URL of an external S3 server; empty: the embedded one")
    access_key: Text = Field("", description="access key of an external S3 server, or file:PATH")
    secret_key: Secret | None = Field(None, description="secret key of an external S3 server")
    bucket: str = Field("portico", description="bucket of the blobs", min_length=3)
    object_lock: bool = Field(
        False, description="the bucket is made with object lock, and one without it is refused"
    )


class DatabaseSettings(Table):
    url: Secret | None = Field(
        None, description="postgresql://… of an external database; empty: the encrypted file of this home"
    )


class TemporalSettings(Table):
    queues: tuple[Queue, ...] = Field(("portico",), description="task queues that this worker polls")
    split: bool = Field(
        False,
        description="new conversations use a queue for each kind of step, for workers that poll only one",
    )
    address: str = Field("", description="host:port of an external Temporal; empty: the embedded one")
    ui: str = Field("", description="host:port of an external Temporal UI that is served below /temporal")
    namespace: str = Field("default", description="namespace of the workflows")
    tls: bool = Field(
        False, description="speak TLS with an external Temporal; any of the next four means so, too"
    )
    tls_ca: Path | None = Field(
        None, description="PEM file of the CA that signed the server's certificate; empty: the system's"
    )
    tls_certificate: Path | None = Field(None, description="PEM file with the client certificate")
    tls_key: Path | None = Field(None, description="PEM file with its private key")
    tls_name: str = Field(
        "", description="name that the server's certificate carries, where it is not the address"
    )
    api_key: Secret | None = Field(None, description="API key of an external Temporal; needs TLS")
    retention_days: int = Field(30, description="how long ended runs can be read", ge=1)
    deployment: str = Field(
        "portico",
        description="name that the workers of all versions share at Temporal",
        pattern=r"^[A-Za-z0-9_-]{1,100}$",
    )
    build_id: str = Field(
        "",
        description="version of this worker; it gets work once `portico deploy promote` makes it current. "
        "Empty: workers without versions",
        pattern=r"^[A-Za-z0-9._+-]{0,100}$",
    )

    @model_validator(mode="after")
    def _is_whole(self) -> TemporalSettings:
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key go together")
        return self


class EdgeSettings(Table):
    """Of an edge for webhooks alone; `portico deploy edge` writes them."""

    seal_key_id: str = Field("", description="id of the core's key that events are sealed to")
    seal_key: str = Field("", description="that key's public half, base64")
    id_key: Secret | None = Field(None, description="key that conversations' ids are made with, base64")
