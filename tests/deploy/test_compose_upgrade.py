"""Edge and worker are replaced by a version whose database has one more migration, while messages flow.

The next version is this one with a migration file more, so that the way back has something to be refused for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from operations.deploy.env_file import read_env
from tests.deploy.deployment import Deployment
from tests.deploy.people import Crowd

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(2400)]
FOLDER = "/opt/portico/portico/storage/engine/migrations"
OWN = ("portico-api", "portico-worker", "portico-triton", "portico-sandbox")


@dataclass(frozen=True)
class Upgrade:
    before: str
    after: str
    migration: int


def applied(deployment: Deployment) -> list[int]:
    query = "SELECT version FROM schema_migrations ORDER BY version"
    psql = ("psql", "-h", "127.0.0.1", "-U", "portico", "-At", "-c", query, "portico")
    password = (deployment.folder / "secrets" / "portico_db_password").read_text().strip()
    said = deployment.compose("exec", "-T", "-e", f"PGPASSWORD={password}", "postgres", *psql)
    return [int(line) for line in said.splitlines()]


@pytest.fixture(scope="module")
def upgrade(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgrade]:
    """Images of a next version. There is no way back but by a backup: afterwards the deployment is made again."""
    before = read_env(deployment.folder / ".env")["PORTICO_VERSION"]
    migration = max(applied(deployment)) + 1
    planned = Upgrade(before, f"next{migration}", migration)
    context = tmp_path_factory.mktemp("next")
    name = f"{migration:04}_of_the_next_version.sql"
    table = f"next_version_{migration}"
    (context / name).write_text(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, word TEXT NOT NULL);\n")
    for image in OWN:
        copy = f"COPY --chmod=0444 {name} {FOLDER}/\n" if image in OWN[:2] else ""
        (context / "Dockerfile").write_text(f"FROM {image}:{before}\n{copy}")
        deployment.docker.run("build", "-q", "-t", f"{image}:{planned.after}", str(context))
    yield planned
    _choose(deployment.folder / ".env", before)
    deployment.down("-v")
    deployment.forget_root()
    deployment.up()


def test_messages_flow_through_an_upgrade(deployment: Deployment, upgrade: Upgrade) -> None:
    told = deployment.lines()
    crowd = Crowd(deployment)
    with crowd.talking():
        crowd.wait_for_sent(3)
        _choose(deployment.folder / ".env", upgrade.after)
        deployment.up()
        crowd.wait_for_sent(crowd.sent + 3)
    crowd.prove_each_answered_once()
    assert upgrade.migration in applied(deployment)
    for service in ("api", "worker"):
        image = deployment.docker.run("inspect", "-f", "{{.Config.Image}}", deployment.containers(service)[0])
        assert image == f"portico-{service}:{upgrade.after}"
    assert deployment.lines()[: len(told)] == told


def test_an_older_version_is_refused_and_nothing_starts_half(
    deployment: Deployment, upgrade: Upgrade
) -> None:
    """Order does not matter: the database is brought to the next version here, where it is not yet."""
    _choose(deployment.folder / ".env", upgrade.after)
    deployment.up()
    running = deployment.containers("worker")
    _choose(deployment.folder / ".env", upgrade.before)
    try:
        said = deployment.compose("run", "--rm", "--no-deps", "-T", "prepare", check=False)
        log = deployment.compose(
            "run",
            "--rm",
            "--no-deps",
            "-T",
            "prepare",
            "sh",
            "-c",
            "portico deploy prepare 2>&1 || echo ended:$?",
        )
        assert re.search(r"newer", log), (said, log)
        assert "ended:" in log
    finally:
        _choose(deployment.folder / ".env", upgrade.after)
    assert deployment.containers("worker") == running
    assert deployment.answer("what is 14 * 14?", message="after-the-refusal") == "14 × 14 = 196"


def _choose(env: Path, version: str) -> None:
    kept = [line for line in env.read_text().splitlines() if not line.startswith("PORTICO_VERSION=")]
    env.write_text("\n".join((*kept, f"PORTICO_VERSION={version}", "")))
