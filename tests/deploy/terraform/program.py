"""Terraform for the tests: the program, its providers in a folder laid out as a registry's mirror, and a copy of the
modules to work in.

The program is the one in PATH. Two providers are built from their pinned modules. The third, `hashicorp/aws`, is no Go
module of its own: it is taken from where Terraform looks for mirrors, or from the registry where that can be reached.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.machine import program
from tests.support import CHECKOUT

SOURCE = CHECKOUT / "infra" / "terraform"
BUILT = {
    # source → (version, program)
    "kreuzwerker/docker": ("4.6.0", "terraform-provider-docker"),
    "gavinbunney/kubectl": ("1.19.0", "terraform-provider-kubectl"),
}
ELSEWHERE = "hashicorp/aws"
MIRRORS = (
    Path("/usr/local/share/terraform/plugins"),
    Path("/usr/share/terraform/plugins"),
    Path("/opt/tf-plugins"),
    Path.home() / ".terraform.d" / "plugins",
    Path.home() / ".local" / "share" / "terraform" / "plugins",
)
MACHINE = "linux_amd64"


@dataclass(frozen=True)
class Done:
    code: int
    output: str


@dataclass(frozen=True)
class Terraform:
    """The program, in a folder of its own, with a copy of what modules and examples need of the checkout."""

    path: Path
    folder: Path

    @property
    def checkout(self) -> Path:
        return self.folder / "checkout"

    @property
    def terraform(self) -> Path:
        return self.checkout / "infra" / "terraform"

    def run(
        self,
        where: str,
        *arguments: str,
        more: dict[str, str] | None = None,
        code: int | None = 0,
        timeout: float = 600,
    ) -> Done:
        """In a folder below infra/terraform. `code` is what it must answer; None allows any."""
        named = ("TF_", "AWS_", "KUBE")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(named)}
        environment |= {"TF_CLI_CONFIG_FILE": str(self.folder / "cli.tfrc"), "TF_IN_AUTOMATION": "1"}
        done = subprocess.run(
            (self.path, f"-chdir={self.terraform / where}", *arguments),
            env=environment | (more or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert code is None or done.returncode == code, done.stdout[-4000:]
        return Done(done.returncode, done.stdout)

    def init(self, where: str) -> None:
        """Skips the test where a provider can neither be built, nor be found, nor be fetched."""
        done = self.run(where, "init", "-no-color", "-input=false", code=None)
        if done.code and ELSEWHERE in done.output and not _kept():
            folders = ", ".join(map(str, MIRRORS))
            pytest.skip(f"{ELSEWHERE} is in none of {folders}, and its registry cannot be reached")
        assert done.code == 0, done.output[-4000:]

    def outputs(self, where: str) -> dict[str, Any]:
        found: dict[str, dict[str, Any]] = json.loads(self.run(where, "output", "-json").output)
        return {name: output["value"] for name, output in found.items()}

    def state(self, where: str) -> str:
        return (self.terraform / where / "terraform.tfstate").read_text()


def provide(folder: Path) -> Terraform:
    """A fresh copy of the modules, and the providers where the program looks for them."""
    path = shutil.which("terraform")
    if path is None:
        pytest.skip("terraform is not in PATH: install 1.9 or newer")
    made = Terraform(Path(path), folder)
    left_out = shutil.ignore_patterns(".terraform*", "terraform.tfstate*")
    shutil.copytree(SOURCE, made.terraform, ignore=left_out)
    for mounted in ("docker", "observability"):
        shutil.copytree(CHECKOUT / "infra" / mounted, made.checkout / "infra" / mounted)
    shutil.copy(CHECKOUT / "compose.yaml", made.checkout)
    configuration = folder / "cli.tfrc"
    configuration.write_text("disable_checkpoint = true\n")
    host = _host(made)
    mirror = folder / "mirror"
    for source, (version, name) in BUILT.items():
        place = mirror / host / source / version / MACHINE
        place.mkdir(parents=True)
        (place / f"{name}_v{version}").symlink_to(program(name))
    found = _kept()
    elsewhere = f'filesystem_mirror {{\n path = "{found}"\n' if found else "direct {\n"
    configuration.write_text(f"""disable_checkpoint = true
provider_installation {{
  filesystem_mirror {{
    path    = "{mirror}"
    include = {json.dumps([f"{host}/{source}" for source in BUILT])}
  }}
  {elsewhere}
    include = ["{host}/{ELSEWHERE}"]
  }}
}}
""")
    return made


def _host(made: Terraform) -> str:
    """The registry whose name this program gives a provider that names none."""
    said = made.run("modules/storage", "providers").output
    found = re.search(r"provider\[([^/\]]+)/", said)
    assert found, said
    return found[1]


def _kept() -> Path | None:
    return next((place for place in MIRRORS if any(place.glob(f"*/{ELSEWHERE}/*"))), None)
