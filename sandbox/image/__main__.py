"""`python -m sandbox.image FOLDER`: build the sandboxes' system below the folder, where it is not there yet."""

from __future__ import annotations

import sys
from pathlib import Path

from sandbox.image.build import ImageFailed, provide


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m sandbox.image FOLDER\n")
        return 2
    try:
        provide(Path(arguments[0]))
    except (ImageFailed, OSError) as error:
        sys.stderr.write(f"sandbox image: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
