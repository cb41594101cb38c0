"""Takes away from an image's system what only a person at a terminal would use.

`python3 bare.py [--keep PROGRAM …]`: package manager, manuals, caches and every setuid bit go; with `--keep`, all
programs of the system but those named go, too. Licences stay, and so does the list of packages that scanners read.
Only the standard library. It works on the file system that it runs on: call it while an image is built, nowhere else.
"""

from __future__ import annotations

import argparse
import os
import shutil
import stat
from pathlib import Path

FOLDERS = (
    *("var/lib/apt", "var/cache", "var/log", "usr/lib/apt", "etc/apt", "usr/share/bash-completion"),
    *(
        "usr/share/bug",
        "usr/share/info",
        "usr/share/i18n",
        "usr/share/lintian",
        "usr/share/locale",
        "usr/share/man",
    ),
    *("usr/lib/*/gconv", "var/lib/dpkg/info", "usr/bin/apt*", "usr/bin/dpkg*", "usr/sbin/dpkg*"),
)
PERL = ("usr/share/perl*", "usr/lib/*/perl*")  # but for its program, that one is no program of the system's
PROGRAMS = ("usr/bin", "usr/sbin", "usr/games", "usr/local/bin", "usr/local/sbin")


def strip(root: Path, keep: tuple[str, ...]) -> None:
    """With an empty `keep`, the system's programs stay."""
    for pattern in (*FOLDERS, *(PERL if keep else ())):
        for found in list(root.glob(pattern)):
            _remove(found)
    for file in list((root / "usr/share/doc").rglob("*")):
        if file.name != "copyright" and not file.is_dir():
            file.unlink()
    if keep:
        _only(root, keep)
    for file in (root / "usr").rglob("*"):
        _take_rights(file)


def _only(root: Path, keep: tuple[str, ...]) -> None:
    """What is kept stays with what its links lead to."""
    known: set[Path] = set()
    for name in keep:
        places = [path for folder in PROGRAMS if os.path.lexists(path := root / folder / name)]
        if not places:
            raise SystemExit(f"bare.py: there is no program {name} to keep")
        for place in places:
            known |= _chain(root, place)
    for folder in PROGRAMS:
        for program in (root / folder).glob("*"):
            if program not in known:
                _remove(program)


def _chain(root: Path, path: Path) -> set[Path]:
    """A program, and each file that stands between it and what is started; links may name the root."""
    found = {path}
    while path.is_symlink():
        target = os.readlink(path)
        path = root / target.lstrip("/") if target.startswith("/") else path.parent / target
        path = Path(os.path.normpath(path))
        if path in found:
            break
        found.add(path)
    return found


def _take_rights(file: Path) -> None:
    """Nobody becomes somebody else by starting a program, wherever it lies."""
    mode = file.lstat().st_mode
    if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
        file.chmod(stat.S_IMODE(mode) & ~(stat.S_ISUID | stat.S_ISGID))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def main() -> None:
    arguments = argparse.ArgumentParser(description="takes away what an image does not need")
    arguments.add_argument("--keep", nargs="+", default=[])
    strip(Path("/"), tuple(arguments.parse_args().keep))


if __name__ == "__main__":
    main()
