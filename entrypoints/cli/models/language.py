"""`portico models pull`, `load`, `unload`, `remove` and `build`: models on this machine for Triton to serve."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from entrypoints.cli.models.server import BUILDER, in_models_environment, running_triton, say
from entrypoints.cli.output import ProgressBar, is_terminal, print_json
from operations.embedded.context import MODELS_ENVIRONMENT
from operations.setup.binaries import CHECKOUT
from portico.errors import BadInput, Misconfigured
from portico.llm.library.memory_need import available_bytes, need
from portico.llm.library.pull import pull, wanted
from portico.llm.library.serve import load, settings_of
from portico.llm.library.shelf import shelf
from portico.llm.library.store import LanguageModel, check_name, find
from portico.settings.home import Home
from portico.settings.load import load_settings
from portico.settings.settings import Settings
from portico.settings.table import MIB

CHECKER = "triton_models.llm.check"
UNLOADED_EVERY_S = 0.1
STEP = 10
"""Percents between two lines of progress outside of a terminal."""
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Name = Annotated[str, typer.Argument(help="as `portico models list` shows it")]


def pull_model(
    place: Annotated[
        str, typer.Argument(help="a folder, s3://BUCKET/PREFIX, https://…, or OWNER/NAME of a hub")
    ],
    name: Annotated[str, typer.Option("--name", help="what to call it here")] = "",
    as_json: Json = False,
) -> None:
    """Fetch a language model for Triton. A fetch that broke off goes on when it is repeated."""
    home = _home()
    settings = load_settings(home)
    model, fresh = asyncio.run(_pull(home, settings, place, name))
    wants = need(model.facts, settings_of(settings, model.name))
    if as_json:
        print_json(_told(model, fetched=fresh) | {"needs_mib": wants.mib})
        return
    size = f"{model.size_bytes / MIB:.0f} MiB, needs {wants.mib} MiB of memory"
    typer.echo(f"{model.name} is {'here' if fresh else 'here already, unchanged'} ({size})")
    typer.echo(f'load it: portico models load {model.name}; use it: kind = "triton", model = "{model.name}"')


def load_model(name: Name, as_json: Json = False) -> None:
    """Have the running Triton serve a language model; a changed one is reloaded."""
    home = _home()
    settings = load_settings(home)
    model = find(home, check_name(name))

    async def work() -> bool:
        async with running_triton(home) as triton:
            if triton is None:
                raise Misconfigured(f"Triton of {home.root} is stopped; start Portico with `portico up`")
            say(f"models: Triton loads {name} …")
            return await load(home, settings, triton[1], name)

    done = asyncio.run(work())
    if as_json:
        print_json(_told(model, loaded=done))
    else:
        typer.echo(f"{name} answers now" if done else f"{name} is loaded already")


def unload_model(name: Name, as_json: Json = False) -> None:
    """Give a language model's memory back; answers that it is writing end first. It is loaded again when asked."""
    home = _home()
    done = asyncio.run(_unload(home, check_name(name)))
    if as_json:
        print_json({"name": name, "unloaded": done})
    else:
        typer.echo(f"{name} is unloaded" if done else f"{name} was not loaded")


def remove_model(name: Name, as_json: Json = False) -> None:
    """Unload a language model and delete its files."""
    home = _home()
    check_name(name)
    folders = [folder for folder in (home.language_models / name, home.pulls / name) if folder.is_dir()]
    if not folders:
        find(home, name)
    asyncio.run(_unload(home, name))
    for folder in folders:
        shutil.rmtree(folder)
    if as_json:
        print_json({"name": name, "removed": True})
    else:
        typer.echo(f"{name} is removed")


def build_models(as_json: Json = False) -> None:
    """Rebuild the small models if their recipe, weights or intents have changed."""
    home = _home()
    in_models_environment(BUILDER, ("--home", home.root))
    if as_json:
        print_json(json.loads((home.models / "manifest.json").read_bytes()))


def language_models(home: Home, settings: Settings) -> list[dict[str, Any]]:
    """Those that lie here, as `portico models list` tells of them."""
    free = available_bytes() // MIB
    return [
        {
            "name": model.name,
            "state": model.state,
            "model": model.name,
            "base_url": "",
            "locality": "local",
            "source": model.source,
            "size_bytes": model.size_bytes,
            "memory_mib": model.memory_mib,
            "free_mib": free,
        }
        for model in asyncio.run(shelf(home, settings))
        if model.language
    ]


def _told(model: LanguageModel, **more: Any) -> dict[str, Any]:
    facts = {"name": model.name, "model": model.name, "base_url": "", "locality": "local"}
    return {**facts, "source": model.source, "size_bytes": model.size_bytes, **more}


def _home() -> Home:
    home = Home.from_environment()
    home.make()
    return home


async def _unload(home: Home, name: str) -> bool:
    async with running_triton(home) as triton:
        if triton is None or not await triton[1].ready(name):
            return False
        await triton[1].unload(name)
        while (await triton[1].states()).get(name) == "UNLOADING":  # noqa: ASYNC110
            await asyncio.sleep(UNLOADED_EVERY_S)  # until its last answer is written
        return True


async def _pull(home: Home, settings: Settings, place: str, name: str) -> tuple[LanguageModel, bool]:
    what = wanted(place, name=name, home=home, settings=settings, secret=_secret(home))
    away = "" if Path(place).expanduser().is_dir() else ", because this command asks for it"
    say(f"models: {what.name} from {what.source.told}{away}")
    progress = Progress()
    try:
        return await pull(home, what, check=_check, progress=progress)
    finally:
        progress.close()


def _secret(home: Home) -> Any:
    """Resolves a reference when it is needed: most places ask for no token."""

    def resolve(reference: str) -> str:
        from entrypoints.serve.wiring import secret_resolver
        from portico.crypto.keyring import open_keyring
        from portico.storage.engine.database import Database
        from portico.storage.secrets import SecretStore

        async def read() -> str:
            database = Database.open(home, open_keyring(home))
            try:
                return (await secret_resolver(SecretStore(database)))(reference)
            finally:
                database.close()

        if not reference.startswith(("secret:", "env:", "file:")):
            return reference
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as other:  # the caller is inside an event loop
            return other.submit(asyncio.run, read()).result()

    return resolve


def _check(folder: Path) -> dict[str, int]:
    """What the models' own environment makes of the folder."""
    python = MODELS_ENVIRONMENT / "bin" / "python"
    if not python.exists():
        raise Misconfigured("the models' environment is missing; run `make setup`")
    command = [str(python), "-m", CHECKER, str(folder)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stdout or done.stderr).strip().splitlines() or [f"it ended with {done.returncode}"]
        raise BadInput(f"this is no model that can be served: {lines[-1][:400]}")
    facts: dict[str, int] = json.loads(done.stdout)
    return facts


class Progress:
    """On a terminal a bar; else a line every ten percent. All of it on stderr."""

    def __init__(self) -> None:
        self._bar = ProgressBar() if is_terminal(sys.stderr) else None
        self._printed = -1

    def __call__(self, file: str, done: int, total: int) -> None:
        if self._bar is not None:
            self._bar.show(file, done, total)
            return
        percent = 100 if not total else done * 100 // total
        if percent == self._printed or percent < min(100, self._printed + STEP):
            return
        self._printed = percent
        typer.echo(f"models: {percent:3d} %  {done / MIB:.1f} of {total / MIB:.1f} MiB  {file}", err=True)

    def close(self) -> None:
        """Leave the terminal as it was, also after a failure."""
        if self._bar is not None:
            self._bar.close()
