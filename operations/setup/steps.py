"""The set-up, step by step. What was done from the same pins is skipped; a second start needs no network."""

from __future__ import annotations

import fcntl
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from operations.setup import environments as env
from operations.setup import golang, python, system
from operations.setup.binaries import CHECKOUT, ON_DEMAND, cache_directory
from operations.setup.interpreter import Interpreter
from operations.setup.shell import SetupFailed, break_off, run, say, step

LINK_NAME = "portico"
FUNCTIONS = CHECKOUT / "activities" / "functions"


def set_up(*, dev: bool) -> None:
    """Everything that a start needs (and what the tests need). Raises `SetupFailed`."""
    if not _todo(dev=dev):
        link_program(programs_folder())
        return
    cache_directory().mkdir(parents=True, exist_ok=True)
    with (cache_directory() / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # checkouts share the cache
        _prepare(dev=dev)
    link_program(programs_folder())


def provide_sandbox() -> None:
    """What no first answer waits for: the sandboxes' binary and their system. Raises `SetupFailed`."""
    if sandbox_is_built():
        return
    with (cache_directory() / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        uv = env.provide_uv([python.provide()])
        golang.provide(uv, ON_DEMAND)
        with step("system of the sandboxes built"):
            found = {**env.uv_environment(), "PATH": f"{uv.parent}:{os.environ['PATH']}"}
            run(
                (env.MAIN / "bin" / "python", "-m", "sandbox.image", cache_directory() / "sandbox"),
                cwd=CHECKOUT,
                env=found,
            )
    env.Stamps(env.MAIN).put("sandbox", _sandbox_digest())


def sandbox_is_built() -> bool:
    return not golang.missing(ON_DEMAND) and env.Stamps(env.MAIN).has("sandbox", _sandbox_digest())


def provide_functions() -> None:
    """What shipped functions import. A running worker does the same by itself. Raises `SetupFailed`."""
    stamps, digest = env.Stamps(env.MAIN), env.digest_of(*sorted(FUNCTIONS.glob("*.lock")))
    if stamps.has("functions", digest):
        return
    with step("packages of the shipped functions installed"):
        run((env.MAIN / "bin" / "python", "-m", "entrypoints.serve.tool_packages"), cwd=CHECKOUT)
    stamps.put("functions", digest)


def _sandbox_digest() -> str:
    return env.digest_of(
        *sorted(path for path in (CHECKOUT / "sandbox" / "image").iterdir() if path.is_file())
    )


def _todo(*, dev: bool) -> list[str]:
    names = ["main", "dev"] if dev else ["main"]
    stamps = env.Stamps(env.MAIN)
    left = [name for name in names if not stamps.has(name, env.digest_of(env.LOCKS[name]))]
    if not env.program_is_current():
        left = names
    models = env.Stamps(env.MODELS)
    if not models.has("environment", env.digest_of(env.MODELS_LOCK)):
        left.append("models-environment")
    if not models.has("models", _models_digest()):
        left.append("models")
    if golang.missing():
        left.append("binaries")
    return left


def _prepare(*, dev: bool) -> None:
    todo = _todo(dev=dev)
    system.check_machine()
    packages = system.missing_packages()
    if packages and not system.apt_install(packages):
        raise SetupFailed(
            f"certificates of the registries are missing: sudo apt install {' '.join(packages)}"
        )
    chosen = python.provide()
    say(f"Python {'.'.join(map(str, chosen.version))} at {chosen.path}")
    uv = env.provide_uv([chosen])
    with ThreadPoolExecutor(max_workers=1) as beside:
        builds = beside.submit(golang.provide, uv)
        try:
            _environments(todo, chosen, uv)
        except SetupFailed:
            break_off()
            raise
        builds.result()


def _environments(todo: list[str], interpreter: Interpreter, uv: Path) -> None:
    for name in ("main", "dev"):
        if name in todo:
            with step(f"packages of {env.LOCKS[name].name} installed"):
                env.make_environment(env.MAIN, interpreter, uv)
                env.install(uv, env.MAIN, env.LOCKS[name])
                env.put_checkout_on_path()
            env.Stamps(env.MAIN).put(name, env.digest_of(env.LOCKS[name]))
    if "models-environment" in todo:
        with step("environment of the models installed"):
            env.make_environment(env.MODELS, interpreter, uv)
            env.install(uv, env.MODELS, env.MODELS_LOCK, "--no-deps")
        env.Stamps(env.MODELS).put("environment", env.digest_of(env.MODELS_LOCK))
    if "models" in todo or "models-environment" in todo:
        _build_models()


def _build_models() -> None:
    """Fill the cache that every home takes its models from."""
    with step("models built"), tempfile.TemporaryDirectory(dir=cache_directory()) as home:
        build = (env.MODELS / "bin" / "python", "-m", "triton_models.build", "--home", home)
        run(build, cwd=CHECKOUT, env={"ORT_DISABLE_TELEMETRY": "1"})  # else ONNX Runtime reports to its maker
    env.Stamps(env.MODELS).put("models", _models_digest())


def _models_digest() -> str:
    folder = CHECKOUT / "triton_models"
    kinds = (".py", ".yaml", ".pbtxt", ".lock")
    return env.digest_of(*sorted(path for path in folder.rglob("*") if path.suffix in kinds))


def programs_folder() -> Path:
    """Where a person's own programs go."""
    return Path("/usr/local/bin") if os.geteuid() == 0 else Path("~/.local/bin").expanduser()


def link_program(folder: Path) -> None:
    """`portico` in that folder, unless another program has the name there."""
    link, target = folder / LINK_NAME, env.MAIN / "bin" / LINK_NAME
    if link.exists():  # ours, another checkout's, or another program; a dangling link does not exist
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    except OSError as error:
        say(f"{link} could not be made ({error.strerror}); use .venv/bin/portico")
