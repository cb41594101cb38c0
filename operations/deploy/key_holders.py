"""Which containers of a deployment do not hold a data key yet: each one is asked by `portico keyring check`."""

from __future__ import annotations

import json

from operations.deploy.compose import Compose, try_run
from portico.errors import Misconfigured

SERVICES = ("api", "worker")
"""The services that hold data keys."""


def missing_in(compose: Compose, key_id: str) -> list[str]:
    """One line for each running container without the key. Raises `Misconfigured` where none runs."""
    containers = _running(compose)
    if not containers:
        raise Misconfigured(
            "no api or worker of this deployment runs here, so nobody says whether the new key is known: start it "
            "with docker compose up --wait; where it runs elsewhere (Kubernetes, Terraform), add --by-hand"
        )
    return [line for name in containers if (line := _missing(name, key_id))]


def _running(compose: Compose) -> list[str]:
    """Names of containers. Versions of compose print an array, or one object a line."""
    printed = compose.run("ps", "--format", "json", *SERVICES)
    rows = (
        json.loads(printed)
        if printed.startswith("[")
        else [json.loads(line) for line in printed.splitlines()]
    )
    return sorted(str(row["Name"]) for row in rows if row.get("State") == "running")


def _missing(container: str, key_id: str) -> str:
    status, printed = try_run("docker", "exec", container, "portico", "keyring", "check", key_id)
    if status == 0:
        return ""
    return (
        f"{container}: {printed.splitlines()[0] if printed else 'no answer (starting, or an older version)'}"
    )
