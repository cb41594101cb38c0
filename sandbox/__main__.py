"""`python -m sandbox`: build what is missing, prove that sandboxes can be set apart, then serve.

Ends with 1 and one line that says why and what to do, if they cannot.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import secrets
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import uvicorn

from sandbox.allowed import Rule
from sandbox.app import make_app
from sandbox.image.build import Image, ImageFailed, provide
from sandbox.isolation import Isolation, IsolationUnavailable, set_up
from sandbox.link import SandboxGone
from sandbox.settings import MIB, ServiceSettings


def parse(arguments: list[str]) -> argparse.Namespace:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "portico"  # noqa: TID251 - the entry
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--key-file", type=Path, required=True, help="made if it is not there")
    parser.add_argument("--runsc", type=Path, default=_newest(cache / "bin"), help="gVisor's program")
    parser.add_argument("--image-dir", type=Path, default=cache / "sandbox")
    parser.add_argument("--warm", type=int, default=1, help="sandboxes kept ready")
    parser.add_argument("--most", type=int, default=24, help="sandboxes at once")
    parser.add_argument(
        "--pictures-mib", type=int, default=4096, help="of paused sandboxes and snapshots, together"
    )
    parser.add_argument(
        "--allow-hosts",
        type=Rule.parse,
        action="append",
        default=[],
        metavar="HOST[:PORT][=ADDRESS]",
        help="what sandboxes that ask for it may reach through the proxy; *.example.com too; repeat it for more",
    )
    parser.add_argument("--json-lines", action="store_true", help="log one JSON object a line")
    return parser.parse_args(arguments)


def _newest(folder: Path) -> Path | None:
    binaries = sorted(folder.glob("runsc-*"), key=lambda path: path.stat().st_mtime)
    named = shutil.which("runsc")
    return binaries[-1] if binaries else Path(named) if named else None


def read_key(path: Path) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"e2b_{secrets.token_hex(20)}\n")
    key = path.read_text().strip()
    if len(key) < 20:
        raise IsolationUnavailable(f"the key in {path} is too short: delete the file and a new one is made")
    return key


class JsonLines(logging.Formatter):
    """In the shape of the gateway's own lines."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "component": record.name,
            "event": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class CutOff(logging.Filter):
    """An answer that breaks off because its sandbox ended is as meant: the client notices, the log needs no trace."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        while error is not None:
            if isinstance(error, SandboxGone):
                return False
            error = error.__cause__ or error.__context__
        return True


def prepare(options: argparse.Namespace) -> tuple[Isolation, ServiceSettings]:
    if options.runsc is None or not options.runsc.exists():
        raise IsolationUnavailable(
            "runsc is not there: `operations/setup/run.sh sandbox` builds it, or name one with --runsc"
        )
    settings = ServiceSettings(
        host=options.host,
        port=options.port,
        state_dir=options.state_dir,
        key=read_key(options.key_file),
        runsc=options.runsc,
        image_dir=options.image_dir,
        warm=options.warm,
        most=options.most,
        allowed_hosts=tuple(options.allow_hosts),
        pictures_bytes=options.pictures_mib * MIB,
    )
    image: Image = provide(settings.image_dir)
    return asyncio.run(set_up(settings.runsc, settings.state_dir.resolve(), image, settings.limits)), settings


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    try:
        isolation, settings = prepare(options)
    except (IsolationUnavailable, ImageFailed) as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 1
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonLines() if options.json_lines else logging.Formatter("%(asctime)s %(name)s %(message)s")
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("uvicorn.error").addFilter(CutOff())
    uvicorn.run(
        make_app(isolation, settings),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        log_config=None,  # its lines go where ours go
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
