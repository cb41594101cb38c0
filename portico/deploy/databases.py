"""PostgreSQL's databases of a deployment: dumped and put back by its own programs, inside its container."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO

from portico.deploy.compose import Compose, ComposeFailed
from portico.errors import Misconfigured
from portico.storage.restored import MARKER

SERVICE = "postgres"
PORTICO = "portico"
TEMPORAL = ("temporal", "temporal_visibility")
OWNERS = {PORTICO: "portico", **dict.fromkeys(TEMPORAL, "temporal")}
AS_ADMINISTRATOR = (
    'PGPASSWORD="$(tr -d "\\n" < /run/secrets/postgres_password)" PGHOST=127.0.0.1 PGUSER=postgres; '
    'export PGPASSWORD PGHOST PGUSER; exec "$@"'
)


class Databases:
    """What is done as the databases' administrator."""

    def __init__(self, compose: Compose) -> None:
        self._compose = compose

    def inside(self, *program: str) -> tuple[str, ...]:
        return ("exec", "-T", SERVICE, "sh", "-c", AS_ADMINISTRATOR, "sh", *program)

    def ask(self, database: str, question: str) -> str:
        """Raises `Misconfigured`."""
        try:
            return self._compose.run(
                *self.inside("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database), given=question
            )
        except ComposeFailed as error:
            if "password authentication failed" in error.message:
                raise Misconfigured(
                    "PostgreSQL does not take the password in secrets/postgres_password: the volume was made with "
                    "other secrets; put those back, or delete the volume"
                ) from None
            raise

    @contextmanager
    def dump(self, database: str) -> Iterator[IO[bytes]]:
        """One state of the database, whatever goes on in it."""
        program = ("pg_dump", "-Fc", "--no-comments", "--no-owner", "--no-privileges", "-d", database)
        with self._compose.reading(*self.inside(*program)) as out:
            yield out

    def make_anew(self, database: str) -> None:
        owner = OWNERS[database]
        self.ask("postgres", f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        self.ask("postgres", f"CREATE DATABASE {database} OWNER {owner}")
        self.ask("postgres", f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")

    def fill(self, database: str, pieces: Iterable[bytes]) -> None:
        """All or nothing."""
        program = ("pg_restore", "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges")
        self._compose.write(*self.inside(*program, "--role", OWNERS[database], "-d", database), pieces=pieces)

    def mark_unfinished(self) -> None:
        """From here on nothing of Portico starts on this database until it is whole."""
        self.ask(
            PORTICO,
            f"SET ROLE portico; CREATE TABLE IF NOT EXISTS {MARKER} (since timestamptz DEFAULT now())",
        )

    def holds_something(self) -> bool:
        """Whether there is anything but what a restore that was broken off has left."""
        if not self.ask("postgres", f"SELECT 1 FROM pg_database WHERE datname = '{PORTICO}'"):
            return False
        tables = self.ask(PORTICO, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'").split()
        return bool(tables) and MARKER not in tables

    def schema(self) -> int:
        """The newest migration of Portico's. Raises `Misconfigured` where it was never prepared."""
        try:
            return int(self.ask(PORTICO, "SELECT max(version) FROM schema_migrations"))
        except (ComposeFailed, ValueError):
            raise Misconfigured("the deployment's database is empty: there is nothing to back up") from None
