"""Writes `api/tools/grpc/tools_pb2.py` from the definitions: `python -m api.protos.generate` (needs the dev packages).

A test tells when it is stale.
"""

from __future__ import annotations

import shutil
import tempfile
from importlib.resources import files
from pathlib import Path

PROTOS = Path(__file__).parent
TARGET = PROTOS.parent / "tools" / "grpc"
SOURCE = "portico/v1/tools.proto"
MADE = ("tools_pb2.py", "tools_pb2.pyi")


def generate(folder: Path) -> None:
    """The modules, into that folder. Raises `RuntimeError` where the definitions cannot be read."""
    from grpc_tools import protoc

    known = str(files("grpc_tools") / "_proto")
    with tempfile.TemporaryDirectory() as made:
        arguments = [
            "protoc",
            f"-I{PROTOS}",
            f"-I{known}",
            f"--python_out={made}",
            f"--pyi_out={made}",
            SOURCE,
        ]
        if protoc.main(arguments) != 0:
            raise RuntimeError(f"{SOURCE} cannot be read")
        for name in MADE:
            shutil.copyfile(Path(made) / "portico" / "v1" / name, folder / name)


if __name__ == "__main__":
    generate(TARGET)
