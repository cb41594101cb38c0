"""Starts the chart's pods as containers, with what a kubelet would give them: users, read-only roots, volumes, probes.

A kwok node starts nothing. Here the images run with the very commands, variables, mounts and probes that the chart
renders, on one Docker network in which services go by their names.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.deploy.machine import Docker
from tests.support import CHECKOUT

SECCOMP = {
    "portico/sandbox.json": CHECKOUT / "infra" / "docker" / "seccomp.json",
    "portico/browser.json": CHECKOUT / "infra" / "docker" / "seccomp-browser.json",
}
NODE = "node"
EMPTY, SHARED = 0o2777, 0o2750
READY_WITHIN_S = 600.0


@dataclass
class Kubelet:
    """One node. `secrets` and `config_maps`: name → file → content."""

    docker: Docker
    folder: Path
    network: str
    secrets: dict[str, dict[str, str]]
    config_maps: dict[str, dict[str, str]]
    started: dict[str, dict[str, Any]] = field(default_factory=dict)

    def start(self, name: str, spec: dict[str, Any]) -> None:
        """A pod with its services' name; back when its startup (or readiness) probe says yes."""
        volumes = self._volumes(name, spec)
        self._initialize(name, spec, volumes)
        (container,) = spec["containers"]
        self._run(
            self.container(name),
            spec,
            container,
            volumes,
            "--detach",
            "--restart=unless-stopped",
            "--network-alias",
            name,
        )
        self.started[name] = container
        self.wait(name)

    def initialize(self, name: str, spec: dict[str, Any]) -> dict[str, Path]:
        """A pod's first containers alone; its volumes as they leave them."""
        volumes = self._volumes(name, spec)
        self._initialize(name, spec, volumes)
        return volumes

    def _initialize(self, name: str, spec: dict[str, Any], volumes: dict[str, Path]) -> None:
        for container in spec.get("initContainers", ()):
            self._run(self.container(f"{name}-{container['name']}"), spec, container, volumes, "--rm")

    def finish(self, name: str, spec: dict[str, Any]) -> str:
        """A job's pod, to its end. What it said; raises where it failed."""
        (container,) = spec["containers"]
        return self._run(self.container(name), spec, container, self._volumes(name, spec), "--rm")

    def container(self, name: str) -> str:
        return f"{self.network}-{name}"

    def call(self, name: str, *command: str) -> str:
        """As `kubectl exec`."""
        return self.docker.run("exec", self.container(name), *command, timeout=600)

    def stop(self, name: str, *, grace_s: int) -> int:
        """As a pod is ended; the exit code."""
        self.docker.run("stop", "--time", str(grace_s), self.container(name))
        return int(self.docker.run("inspect", "-f", "{{.State.ExitCode}}", self.container(name)))

    def remove_all(self) -> None:
        chosen = ("--filter", f"name=^{self.network}-", "--format", "{{.ID}}")
        if found := self.docker.run("ps", "--all", *chosen).split():
            self.docker.run("rm", "--force", *found)

    def probe(self, name: str, kind: str) -> bool:
        """From outside of the pod where the kubelet asks by HTTP, inside where it runs a command."""
        container = self.started[name]
        asked = container[kind]
        if "exec" in asked:
            return self._answers("exec", self.container(name), *asked["exec"]["command"])
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        url = f"http://{name}:{ports[asked['httpGet']['port']]}{asked['httpGet']['path']}"
        ask = f"import urllib.request; urllib.request.urlopen({url!r}, timeout={asked['timeoutSeconds']})"
        return self._answers("exec", self.container(NODE), "python3", "-c", ask)

    def boot(self, image: str) -> None:
        """What asks the pods by HTTP."""
        wait = ("--entrypoint", "python3", image, "-c", "import signal; signal.pause()")
        self.docker.run("run", "--detach", "--name", self.container(NODE), "--network", self.network, *wait)

    def _answers(self, *command: str) -> bool:
        environment = self.docker.environment
        done = subprocess.run(
            ("/usr/bin/docker", *command), env=environment, capture_output=True, timeout=60, check=False
        )
        return done.returncode == 0

    def wait(self, name: str) -> None:
        """Until it is ready."""
        kind = "startupProbe" if "startupProbe" in self.started[name] else "readinessProbe"
        ends = time.monotonic() + READY_WITHIN_S
        while not self.probe(name, kind):
            said = self.docker.run("logs", "--tail", "20", self.container(name), check=False)
            assert time.monotonic() < ends, f"{name} does not become ready: {said}"
            time.sleep(0.5)

    def _run(
        self, name: str, spec: dict[str, Any], container: dict[str, Any], volumes: dict[str, Path], *more: str
    ) -> str:
        security = {**spec["securityContext"], **container["securityContext"]}
        given = [f"--user={security['runAsUser']}:{security['runAsGroup']}"]
        given += [f"--group-add={security['fsGroup']}", "--network", self.network, "--name", name]
        given += [f"--memory={container['resources']['limits']['memory'].lower().removesuffix('i')}"]
        given += [f"--cap-drop={one}" for one in security["capabilities"]["drop"]]
        given += ["--read-only"] if security["readOnlyRootFilesystem"] else []
        given += [] if security["allowPrivilegeEscalation"] else ["--security-opt=no-new-privileges"]
        if profile := security["seccompProfile"].get("localhostProfile"):
            given += [f"--security-opt=seccomp={SECCOMP[profile]}"]
        given += [f"--env={one['name']}={one['value']}" for one in container.get("env", ())]
        for mount in container["volumeMounts"]:
            read_only = ",readonly" if mount.get("readOnly") else ""
            source = volumes[mount["name"]]
            given += [f"--mount=type=bind,source={source},target={mount['mountPath']}{read_only}"]
        words: list[str] = [*container.get("command", ()), *container.get("args", ())]
        if "command" in container:
            given += ["--entrypoint", words.pop(0)]
        return self.docker.run("run", *more, *given, container["image"], *words, timeout=READY_WITHIN_S)

    def _volumes(self, name: str, spec: dict[str, Any]) -> dict[str, Path]:
        group = spec["securityContext"]["fsGroup"]
        found = {}
        pod = self.folder / f"{name}-{secrets.token_hex(4)}"  # each pod has volumes of its own
        for volume in spec["volumes"]:
            path = pod / volume["name"]
            path.mkdir(parents=True)
            if "emptyDir" not in volume:
                self._fill(path, volume, group)
            shutil.chown(path, 0, group)
            path.chmod(EMPTY if "emptyDir" in volume else SHARED)
            found[volume["name"]] = path
        return found

    def _fill(self, path: Path, volume: dict[str, Any], group: int) -> None:
        """Files lie in a folder of their own behind two links, as the kubelet lays them out."""
        mode = volume.get("projected", volume.get("secret", {})).get("defaultMode", 0o644)
        content: dict[str, str] = {}
        for source in volume.get("projected", {}).get("sources", [volume]):
            content |= self._content(source)
        data = path / "..2026_11_22"
        data.mkdir()
        (path / "..data").symlink_to(data.name)
        for name, text in content.items():
            (data / name).write_text(text)
            shutil.chown(data / name, 0, group)
            (data / name).chmod(mode)
            (path / name).symlink_to(f"..data/{name}")
        shutil.chown(data, 0, group)
        data.chmod(0o750 if mode == 0o440 else 0o755)

    def _content(self, source: dict[str, Any]) -> dict[str, str]:
        if "configMap" in source:
            return self.config_maps[source["configMap"]["name"]]
        asked = source["secret"]
        known = self.secrets[asked.get("name") or asked["secretName"]]
        return {item["path"]: known[item["key"]] for item in asked["items"]}


def files_of(folder: Path) -> dict[str, str]:
    """What `kubectl create secret --from-file=FOLDER` takes."""
    return {path.name: path.read_text() for path in sorted(folder.iterdir()) if path.is_file()}
