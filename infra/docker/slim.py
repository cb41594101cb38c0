"""Makes an environment small enough to ship: no debug symbols, tests, headers, or services of AWS but S3.

`python3 slim.py [--keep-bytecode] ENVIRONMENT …`. Only the standard library and `strip`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

AWS_KEPT = ("s3", "sts")
TEST_FOLDERS = ("tests",)
SOURCES = ("*.pyi", "*.pyx", "*.pxd", "*.c", "*.h", "*.cpp", "*.hpp")


def slim(environment: Path, *, bytecode: bool) -> None:
    """With `bytecode`, what was compiled ahead stays: larger, and quicker to start where nothing can be written."""
    packages = next((environment / "lib").glob("python3*/site-packages"))
    for folder in [] if bytecode else list(packages.rglob("__pycache__")):
        shutil.rmtree(folder)
    for name in TEST_FOLDERS:
        for folder in [path for path in packages.glob(f"*/**/{name}") if path.is_dir()]:
            shutil.rmtree(folder, ignore_errors=True)
    for folder in (packages / "botocore" / "data").glob("*/"):
        if folder.name not in AWS_KEPT:
            shutil.rmtree(folder)
    shutil.rmtree(packages / "temporalio" / "bridge" / "sdk-core", ignore_errors=True)
    for pattern in SOURCES:
        for file in packages.rglob(pattern):
            file.unlink()
    for library in packages.rglob("*.so*"):
        # what wheels bring along in NAME.libs was patched there, and does not load once it is stripped
        if library.is_file() and not library.is_symlink() and not library.parent.name.endswith(".libs"):
            subprocess.run(("strip", "--strip-unneeded", library), stderr=subprocess.DEVNULL, check=False)


def main() -> None:
    arguments = argparse.ArgumentParser(description="makes environments small enough to ship")
    arguments.add_argument("--keep-bytecode", action="store_true")
    arguments.add_argument("environments", type=Path, nargs="+")
    given = arguments.parse_args()
    for environment in given.environments:
        slim(environment, bytecode=given.keep_bytecode)


if __name__ == "__main__":
    main()
