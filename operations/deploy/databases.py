"""PostgreSQL's databases of a deployment: dumped and put back by its own programs, inside its container."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO

from operations.deploy.compose import TIMEOUT_S, Compose, ComposeFailed
from portico.errors import Misconfigured
from portico.storage.engine.migrate import RESTORING

SERVICE = "postgres"
PORTICO = "portico"
TEMPORAL = ("temporal", "temporal_visibility")
COMING, LEAVING = "portico_coming", "portico_leaving"
"""What Portico's database is called before it is marked, and after another one has taken its name."""
OWNERS = {PORTICO: "portico", **dict.fromkeys(TEMPORAL, "temporal")}
PLAINLY = ("-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=terse")
"""It ends at the first error, and says it in one line."""
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

    def ask(self, database: str, question: str, *, timeout_s: float | None = TIMEOUT_S) -> str:
        """Raises `Misconfigured`."""
        try:
            return self._compose.run(
                *self.inside("psql", "-XAtq", *PLAINLY, "-d", database), given=question, timeout_s=timeout_s
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
        self._drop(database)
        self._create(database, OWNERS[database])

    def make_unfinished(self) -> None:
        """An empty database in the place of Portico's, on which nothing of Portico starts until it is whole.

        It is marked before it gets its name, and both names change in one transaction: wherever this is stopped,
        there is either the database of before or one with the mark.
        """
        for left in (COMING, LEAVING):
            self._drop(left)
        self._create(COMING, OWNERS[PORTICO])
        self.ask(
            COMING, f"SET ROLE {OWNERS[PORTICO]}; CREATE TABLE {RESTORING} (since timestamptz DEFAULT now())"
        )
        self.take_its_place()
        self._drop(LEAVING)

    def take_its_place(self) -> None:
        """Both names or none. A database with open connections is not renamed."""
        steps = ["BEGIN", f"ALTER DATABASE {COMING} RENAME TO {PORTICO}", "COMMIT"]
        if self._is_there(PORTICO):
            steps.insert(1, f"ALTER DATABASE {PORTICO} RENAME TO {LEAVING}")
            steps.insert(
                0, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{PORTICO}'"
            )
        self.ask("postgres", ";\n".join(steps))

    def _drop(self, database: str) -> None:
        self.ask("postgres", f"DROP DATABASE IF EXISTS {database} WITH (FORCE)", timeout_s=None)

    def _create(self, database: str, owner: str) -> None:
        self.ask("postgres", f"CREATE DATABASE {database} OWNER {owner}", timeout_s=None)
        self.ask("postgres", f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")

    def _is_there(self, database: str) -> bool:
        return bool(self.ask("postgres", f"SELECT 1 FROM pg_database WHERE datname = '{database}'"))

    def fill(self, database: str, pieces: Iterable[bytes]) -> None:
        """All or nothing."""
        program = ("pg_restore", "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges")
        self._compose.write(*self.inside(*program, "--role", OWNERS[database], "-d", database), pieces=pieces)

    def holds_something(self) -> bool:
        """Whether there is anything but what a restore that was broken off has left."""
        if not self._is_there(PORTICO):
            return False
        tables = self.ask(PORTICO, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'").split()
        return bool(tables) and RESTORING not in tables

    def schema(self) -> int:
        """The newest migration of Portico's. Raises `Misconfigured` where it was never prepared."""
        try:
            return int(self.ask(PORTICO, "SELECT max(version) FROM schema_migrations"))
        except (ComposeFailed, ValueError) as error:
            if isinstance(error, ComposeFailed) and "does not exist" not in error.message:
                raise
            raise Misconfigured("the deployment's database is empty: there is nothing to back up") from None
