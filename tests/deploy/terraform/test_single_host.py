"""The compose deployment as resources, on a real daemon: equal to what compose itself would run, and answering."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.deployment import SITE, Deployment
from tests.deploy.machine import Docker
from tests.deploy.provide import TAG
from tests.deploy.terraform.program import Terraform
from tests.portico.servers import free_port
from tests.support import CHECKOUT

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(1800)]
EXAMPLE = "examples/single_host"
NAME = "portico-tf"
MEBIBYTE = 1024 * 1024


class Answering(Deployment):
    """The same client as of the compose deployment; what it asks of containers is asked of Docker itself."""

    def context(self) -> ssl.SSLContext:
        root = "/data/caddy/pki/authorities/local/root.crt"
        return ssl.create_default_context(cadata=self.docker.run("exec", f"{NAME}-caddy-1", "cat", root))

    def state(self) -> str:
        form = "{{.Names}}\t{{.Status}}"
        return self.docker.run("ps", "-a", "--filter", f"name={NAME}-", "--format", form)


@dataclass(frozen=True)
class Applied:
    terraform: Terraform
    docker: Docker
    folder: Path
    port: int

    def words(self, **more: str) -> tuple[str, ...]:
        given = {
            "name": NAME,
            "docker_host": f"unix://{self.docker.socket}",
            "folder": str(self.folder),
            "program": str(CHECKOUT / ".venv" / "bin" / "portico"),
            "site": SITE,
            "listen": f'{{address="127.0.0.1",port={self.port}}}',
            "portico_version": TAG,
            "variables": '{PORTICO_TLS="internal"}',
            **more,
        }
        return ("-no-color", "-input=false", *(f"-var={name}={value}" for name, value in given.items()))

    def apply(self, **more: str) -> str:
        words = ("apply", "-auto-approve", *self.words(**more))
        return self.terraform.run(EXAMPLE, *words, timeout=900).output

    def plan(self, *, code: int, **more: str) -> str:
        words = ("plan", "-detailed-exitcode", *self.words(**more))
        return self.terraform.run(EXAMPLE, *words, code=code).output

    def destroy(self, **more: str) -> None:
        self.terraform.run(EXAMPLE, "destroy", "-auto-approve", *self.words(**more))

    def inspect(self, service: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.docker.run("inspect", f"{NAME}-{service}-1"))
        return found[0]

    def named(self, kind: str) -> set[str]:
        """Volumes, networks or containers of this deployment."""
        command = ("ps", "-a", "--format", "{{.Names}}") if kind == "container" else ()
        words = command or (kind, "ls", "--format", "{{.Name}}")
        return {name for name in self.docker.run(*words).split() if name.startswith((f"{NAME}_", f"{NAME}-"))}

    @property
    def deployment(self) -> Answering:
        return Answering(self.docker, self.folder, self.port)


def _remove(docker: Docker) -> None:
    """What a run that was killed has left."""
    form = ("--format", "{{.Names}}", "--filter", f"name=^{NAME}-")
    if containers := docker.run("ps", "-a", *form).split():
        docker.run("rm", "-f", "-v", *containers)
    for kind in ("volume", "network"):
        found = docker.run(kind, "ls", "--format", "{{.Name}}", "--filter", f"name=^{NAME}_").split()
        if found:
            docker.run(kind, "rm", *found)


@pytest.fixture(scope="module")
def applied(
    terraform: Terraform, docker: Docker, images: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Applied]:
    _remove(docker)
    made = Applied(terraform, docker, tmp_path_factory.mktemp("deployment"), free_port())
    terraform.init(EXAMPLE)
    try:
        made.apply()
        yield made
    finally:
        _remove(docker)


@pytest.fixture(scope="module")
def resolved(applied: Applied) -> dict[str, Any]:
    """The file as compose itself reads it, with the same variables."""
    env = applied.folder / "same.env"
    env.write_text(
        f"PORTICO_SITE={SITE}\nPORTICO_BIND=127.0.0.1\nPORTICO_HTTPS_PORT={applied.port}\n"
        f"PORTICO_VERSION={TAG}\nPORTICO_CONFIG_FOLDER={applied.folder / 'config'}\nPORTICO_TLS=internal\n"
    )
    file = applied.terraform.checkout / "compose.yaml"
    words = ("compose", "-f", str(file), "--env-file", str(env), "config", "--format", "json")
    found: dict[str, Any] = json.loads(applied.docker.run(*words))
    return found


def test_a_second_plan_is_empty(applied: Applied) -> None:
    applied.plan(code=0)


def test_a_message_is_answered_through_caddy(applied: Applied) -> None:
    assert applied.deployment.answer("what is 6 * 7?", message="first") == "6 × 7 = 42"


def test_the_state_holds_no_secret(applied: Applied) -> None:
    state = applied.terraform.state(EXAMPLE)
    files = list((applied.folder / "secrets").iterdir())
    assert len(files) > 10
    assert [file.name for file in files if file.read_text().strip()[:40] in state] == []


def test_every_service_runs_as_compose_would_run_it(applied: Applied, resolved: dict[str, Any]) -> None:
    for service, said in resolved["services"].items():
        found = applied.inspect(service)
        assert _as_run(found, said) == _as_said(said, applied), service


def test_every_container_is_where_compose_would_put_it(applied: Applied, resolved: dict[str, Any]) -> None:
    for service, said in resolved["services"].items():
        found = applied.inspect(service)
        joined = found["NetworkSettings"]["Networks"]
        networks = {name.removeprefix(f"{NAME}_") for name in joined}
        assert networks == set(said["networks"]), service
        for name, more in said["networks"].items():
            aliases = {service, *((more or {}).get("aliases") or ())}
            assert aliases <= set(joined[f"{NAME}_{name}"]["Aliases"]), (service, name)
        mounts = {
            (mount["Destination"], mount["RW"]) for mount in found["Mounts"] if mount["Type"] != "tmpfs"
        }
        wanted = {(one["target"], not one.get("read_only", False)) for one in said.get("volumes", ())}
        secrets = {(one.get("target") or f"/run/secrets/{one['source']}") for one in said.get("secrets", ())}
        wanted |= {(path if path.startswith("/") else f"/run/secrets/{path}", False) for path in secrets}
        assert mounts == wanted, service
    for name, said in resolved["networks"].items():
        network = json.loads(applied.docker.run("network", "inspect", f"{NAME}_{name}"))[0]
        assert network["Internal"] == said.get("internal", False), name
        assert network["Options"] == (said.get("driver_opts") or {}), name


def _as_said(said: dict[str, Any], applied: Applied) -> dict[str, Any]:
    """Of compose's reading. The provider has no bound on a job's processes, which ends before one could be set."""
    health = said.get("healthcheck", {})
    return {
        "image": applied.docker.run("image", "inspect", "-f", "{{.Id}}", said["image"]),
        "environment": {f"{key}={value or ''}" for key, value in said.get("environment", {}).items()},
        "command": said.get("command"),
        "entrypoint": said.get("entrypoint"),
        "user": said.get("user"),
        "health": ["NONE"] if health.get("disable") else health.get("test"),
        "restart": said.get("restart", "no"),
        "init": said.get("init", False),
        "read_only": said.get("read_only", False),
        "dropped": said.get("cap_drop", []),
        "added": said.get("cap_add", []),
        "memory": int(said["mem_limit"]),
        "pids": None if said.get("restart") == "no" else said["pids_limit"],
        "shared": int(said.get("shm_size", 64 * MEBIBYTE)),
        "tmpfs": set(said.get("tmpfs", ())),
        "log": said["logging"],
        "ports": [(one["host_ip"], one["published"], str(one["target"])) for one in said.get("ports", ())],
        "security": {_security(option) for option in said["security_opt"]},
    }


def _as_run(found: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """Of Docker's. What compose does not say comes from the image, and is left out."""
    host, config = found["HostConfig"], found["Config"]
    bound = (host["PortBindings"] or {}).items()
    options = host["SecurityOpt"]
    return {
        "image": found["Image"],
        "environment": {
            one for one in config["Env"] or () if one.split("=")[0] in said.get("environment", {})
        },
        "command": config["Cmd"] if said.get("command") else said.get("command"),
        "entrypoint": config["Entrypoint"] if said.get("entrypoint") else said.get("entrypoint"),
        "user": config["User"] if said.get("user") else None,
        "health": config["Healthcheck"]["Test"]
        if {"test", "disable"} & set(said.get("healthcheck", {}))
        else None,
        "restart": host["RestartPolicy"]["Name"],
        "init": host["Init"],
        "read_only": host["ReadonlyRootfs"],
        "dropped": host["CapDrop"],
        "added": [capability.removeprefix("CAP_") for capability in host["CapAdd"] or ()],
        "memory": host["Memory"],
        "pids": host["PidsLimit"],
        "shared": host["ShmSize"],
        "tmpfs": {f"{path}:{options}".rstrip(":") for path, options in (host.get("Tmpfs") or {}).items()},
        "log": {"driver": host["LogConfig"]["Type"], "options": host["LogConfig"]["Config"]},
        "ports": [
            (to["HostIp"], to["HostPort"], port.split("/")[0]) for port, all_of in bound for to in all_of
        ],
        "security": {_security(option) for option in options},
    }


def _security(option: str) -> str:
    """Of a profile its kind alone; compose writes a colon where Docker has the equals sign."""
    if re.match(r"seccomp(=\{|:|=.*/)", option):
        return "seccomp"
    return re.sub("^apparmor:", "apparmor=", option)


def test_what_was_removed_by_hand_is_seen_and_put_back(applied: Applied) -> None:
    applied.docker.run("rm", "-f", f"{NAME}-opa-1")
    applied.plan(code=2)
    applied.apply()
    applied.plan(code=0)
    assert applied.deployment.answer("what is 5 * 5?", message="put-back") == "5 × 5 = 25"


def test_one_more_worker_touches_nothing_else(applied: Applied) -> None:
    said = applied.apply(workers="2")
    assert "2 added, 0 changed, 0 destroyed" in said, "a container, and the bound on its processes"
    assert f"{NAME}-worker-2" in applied.named("container")
    assert "0 added, 0 changed, 2 destroyed" in applied.apply()


def test_destroy_keeps_the_data_and_apply_takes_it_up_again(applied: Applied) -> None:
    before, volumes = applied.deployment.lines(), applied.named("volume")
    applied.destroy()
    assert applied.named("container") == applied.named("network") == set()
    assert applied.named("volume") == volumes
    assert (applied.folder / "secrets" / "master_key").exists()
    applied.apply()
    assert applied.deployment.lines() == before


def test_a_secret_that_is_gone_ends_the_plan(applied: Applied) -> None:
    key = applied.folder / "secrets" / "opa_token"
    aside = key.rename(key.with_suffix(".aside"))
    try:
        assert "Missing: " in applied.plan(code=1)
    finally:
        aside.rename(key)


def test_destroy_deletes_the_data_when_told_so(applied: Applied) -> None:
    applied.apply(destroy_data="true")
    applied.plan(code=0, destroy_data="true")
    assert applied.deployment.answer("what is 4 * 4?", message="last") == "4 × 4 = 16"
    applied.destroy(destroy_data="true")
    assert applied.named("volume") == set()
    assert (applied.folder / "secrets" / "master_key").exists(), "keys are never deleted"
