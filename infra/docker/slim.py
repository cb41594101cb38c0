"""Makes an environment small enough to ship: no debug symbols, tests, headers, or services of AWS but S3.

`python3 slim.py ENVIRONMENT`. Only the standard library and `strip`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

AWS_KEPT = ("s3", "sts")
TEST_FOLDERS = ("tests",)
SOURCES = ("*.pyi", "*.pyx", "*.pxd", "*.c", "*.h", "*.cpp", "*.hpp")


def main(environment: Path) -> None:
    packages = next((environment / "lib").glob("python3*/site-packages"))
    for folder in list(packages.rglob("__pycache__")):
        shutil.rmtree(folder)
    for name in TEST_FOLDERS:
        for folder in [path for path in packages.glob(f"*/**/{name}") if path.is_dir()]:
            shutil.rmtree(folder, ignore_errors=True)
    for folder in (packages / "botocore" / "data").iterdir():
        if folder.is_dir() and folder.name not in AWS_KEPT:
            shutil.rmtree(folder)
    shutil.rmtree(packages / "temporalio" / "bridge" / "sdk-core", ignore_errors=True)
    for pattern in SOURCES:
        for file in packages.rglob(pattern):
            file.unlink()
    for library in packages.rglob("*.so*"):
        # what wheels bring along in NAME.libs was patched there, and does not load once it is stripped
        if library.is_file() and not library.is_symlink() and not library.parent.name.endswith(".libs"):
            subprocess.run(("strip", "--strip-unneeded", library), stderr=subprocess.DEVNULL, check=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
