"""The way of a server's data into a cluster, as docs/kubernetes.md has it: the commands themselves, run in order."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.operations.deploy.support import NAMES, Deployment, expected, fill, what_is_there
from tests.portico.servers import KEY, SECRET, s3_server
from tests.postgres import postgres_programs
from tests.support import CHECKOUT

COMPOSE = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())
DOCKER = """#!{python}
# Plays `docker compose`: runs in place what it would run in a container, and knows of a container what it would know.
import json, os, sys
words = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(json.dumps(words) + "\\n")
if words[1] == "exec":
    at = words.index("sh")
    words = [word.replace("/run/secrets/postgres_password", {password!r}) for word in words[at:]]
    os.execvpe("sh", words, {{"PATH": {programs!r} + ":" + os.environ["PATH"], "PGPORT": {port!r}}})
if words[1] == "run":
    inside, program = words[2:words.index("portico")], words[words.index("portico") + 1:]
    given = [inside[at + 1].partition("=") for at, word in enumerate(inside) if word == "-e"]
    given = {{name: value if sign else os.environ[name] for name, sign, value in given}}
    os.execve({python!r}, [{python!r}, "-m", "entrypoints.cli.main", *program], dict({inside!r}, **given))
"""


def blocks() -> list[str]:
    """Out of the server; into the cluster."""
    page = (CHECKOUT / "docs" / "kubernetes.md").read_text()
    section = page[page.index("\nFrom a server, ") : page.index("\nTake its folder of secrets ")]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    with s3_server(tmp_path / "target") as port:
        yield port


@pytest.fixture
def server(deployment: Deployment) -> Deployment:
    """With a `docker` that knows what stands in compose.yaml, where the commands are typed."""
    home = deployment.keyring_home()
    password = deployment.root / "postgres_password"
    password.write_text(deployment.server.password)
    program = deployment.root / "moving" / "docker"
    program.parent.mkdir()
    program.write_text(
        DOCKER.format(
            python=sys.executable,
            log=str(deployment.root / "asked"),
            password=str(password),
            programs=str(postgres_programs()),
            port=str(deployment.server.port),
            inside={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(CHECKOUT),
                "PORTICO_HOME": str(home.root),
                "PORTICO_STORAGE__URL": f"http://127.0.0.1:{deployment.s3}",
                "PORTICO_STORAGE__ACCESS_KEY": KEY,
                "PORTICO_STORAGE__SECRET_KEY": SECRET,
                "PORTICO_TEMPORAL__ADDRESS": "127.0.0.1:1",
                "PORTICO_POLICY__URL": "http://127.0.0.1:1",
                "PORTICO_MODELS__TRITON": "127.0.0.1:1",
            },
        )
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return deployment


def run(server: Deployment, block: str, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{server.root / 'moving'}:{postgres_programs()}:{os.environ['PATH']}"
    return subprocess.run(
        ("sh", "-c", block),
        cwd=server.root,
        env={"PATH": path, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def asked(server: Deployment) -> list[list[str]]:
    return [json.loads(line) for line in (server.root / "asked").read_text().splitlines()]


def test_all_of_a_server_comes_into_the_cluster(server: Deployment, target: int) -> None:
    out, into = blocks()
    blob = fill(server, "moved")
    before = what_is_there(server, blob)
    done = run(server, out)
    assert done.returncode == 0, done.stderr
    server.wipe()
    for name, here in {
        "postgres.example.com": "127.0.0.1",
        "OWNER": "portico",
        "https://s3.example.com": f"http://127.0.0.1:{target}",
        "YOUR-S3-USER": KEY,
        "YOUR-S3-SECRET": SECRET,
    }.items():
        assert name in into
        into = into.replace(name, here)
    done = run(server, into, PGPORT=str(server.server.port), PGPASSWORD=server.server.password)
    assert done.returncode == 0, done.stderr
    assert what_is_there(replace(server, s3=target), blob) == before
    assert before == expected("moved", state="ready")


def test_a_dump_that_fails_ends_all_of_it(server: Deployment) -> None:
    fill(server, "kept")
    server.sql("postgres", "DROP DATABASE temporal WITH (FORCE)")
    done = run(server, blocks()[0])
    assert done.returncode != 0
    assert "temporal" in done.stderr
    assert [words[1] for words in asked(server)] == ["stop", "exec", "exec"]


def test_what_is_asked_of_the_deployment_is_in_its_compose_file(server: Deployment) -> None:
    run(server, blocks()[0])
    stop, *dumps, save = asked(server)
    assert set(stop[2:]) <= set(COMPOSE["services"])
    assert [words[-1] for words in dumps] == list(NAMES)
    assert all(words[3] == "postgres" for words in dumps)
    assert "postgres_password" in COMPOSE["services"]["postgres"]["secrets"]
    service = save[save.index("portico") - 1]
    assert "outside" in COMPOSE["services"][service]["networks"], "who loads has a way to the cluster's S3"
