"""Load settings: `portico.toml` in `PORTICO_HOME`, then variables `PORTICO_…` with `__` between levels.

An unknown key in the file is an error; an unknown variable is a warning, because platforms inject names of their own.
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any, get_origin

from pydantic import ValidationError

from portico.errors import Misconfigured
from portico.logs import logger
from portico.problems import first_problem
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.settings.table import Table

RESERVED = ("HOME", "CONFIG", "MASTER_KEY", "FUNCTIONS", "URL", "API_KEY", "YES")
RESERVED_PREFIXES = ("TEST_", "SANDBOX_")

log = logger("settings")


def load_settings(home: Home, config: Path | None = None) -> Settings:
    """Raises `Misconfigured` with one line that names the key and what is wrong with it."""
    path = settings_path(home, config)
    values = _read_file(path, required=path != home.settings)
    variables = _variables(dict(os.environ))  # noqa: TID251 - the one place that reads it
    for steps, (name, value) in variables.items():
        _put(values, steps, name, _listed(steps, value))
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = first_problem(error)
        source = next((name for steps, (name, _) in variables.items() if steps == first.place), str(path))
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise Misconfigured(f"{source}: {first.line()}{more}") from None


def settings_path(home: Home, config: Path | None = None) -> Path:
    """The file that is read: `--config`, else `PORTICO_CONFIG`, else `portico.toml` in the home."""
    return config or _config_from_environment() or home.settings


def _config_from_environment() -> Path | None:
    path = os.environ.get("PORTICO_CONFIG")  # noqa: TID251 - reserved name
    return Path(path).expanduser() if path else None


def _read_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        if required:
            raise Misconfigured(f"{path} does not exist") from None
        return {}
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} is not TOML: {error}") from None


def _variables(environment: dict[str, str]) -> dict[tuple[str, ...], tuple[str, str]]:
    """Where in the settings each variable belongs, with name and value. Unknown ones are skipped with a warning."""
    values = {}
    for name, value in sorted(environment.items()):
        rest = name.removeprefix("PORTICO_")
        if rest == name or _is_reserved(rest):
            continue
        steps = tuple(rest.lower().split("__"))
        if _kind_of(steps) is None or _is_service_link(steps, value):
            log.warning("settings.unknown_variable", name=name)
            continue
        values[steps] = (name, value)
    return values


def _listed(steps: tuple[str, ...], value: str) -> str | list[str]:
    """A list is written as `a,b` in a variable, or as in JSON."""
    if get_origin(_kind_of(steps)) is not tuple:
        return value
    if not value.lstrip().startswith("["):
        return [one.strip() for one in value.split(",") if one.strip()]
    try:
        return list(json.loads(value))
    except ValueError:
        return value  # the model says what is wrong with it


def _is_reserved(rest: str) -> bool:
    """`SANDBOX_KEY` belongs to the sandbox's own settings, `SANDBOX__URL` to the table `[sandbox]`."""
    return rest in RESERVED or any(
        rest.startswith(prefix) and not rest.startswith(prefix + "_") for prefix in RESERVED_PREFIXES
    )


def _kind_of(steps: tuple[str, ...]) -> Any:
    """The type of a key, None for one that is unknown; below tables whose keys are free (channels) all are known."""
    table: Any = Settings
    for step in steps:
        if not (isinstance(table, type) and issubclass(table, Table)):
            return Any
        if step not in table.model_fields:
            return None
        table = table.model_fields[step].annotation
    return table


def _is_service_link(steps: tuple[str, ...], value: str) -> bool:
    """Kubernetes sets `PORTICO_PORT=tcp://…` for a service with our name."""
    return steps == ("port",) and value.startswith(("tcp://", "udp://"))


def _put(values: dict[str, Any], steps: tuple[str, ...], name: str, value: str | list[str]) -> None:
    for level in steps[:-1]:
        values = values.setdefault(level, {})
        if not isinstance(values, dict):
            raise Misconfigured(f"{name}: {level} is not a table")
    values[steps[-1]] = value
