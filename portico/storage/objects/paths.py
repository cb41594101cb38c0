"""Names of files in a workspace: relative POSIX paths that cannot lead out of it. Pure; standard library only."""

from __future__ import annotations

import unicodedata

LONGEST_PART_BYTES = 255
LONGEST_PATH_BYTES = 1024


def clean_path(path: str) -> str:
    """The one spelling of a path in a workspace. Raises `ValueError` with what is wrong with it."""
    if not isinstance(path, str):
        raise ValueError("a path is text")
    text = unicodedata.normalize("NFC", path)
    if any(ord(sign) < 32 or ord(sign) == 127 or 0xD800 <= ord(sign) < 0xE000 for sign in text):
        raise ValueError("a path holds no control characters")
    if text.startswith("/"):
        raise ValueError("a path is relative, without a / at its start")
    if "\\" in text:
        raise ValueError("the parts of a path are separated by /")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if not parts:
        raise ValueError("a path names a file")
    if ".." in parts:
        raise ValueError("a path does not lead upward")
    if any(len(part.encode()) > LONGEST_PART_BYTES for part in parts):
        raise ValueError(f"a part of a path has at most {LONGEST_PART_BYTES} bytes")
    cleaned = "/".join(parts)
    if len(cleaned.encode()) > LONGEST_PATH_BYTES:
        raise ValueError(f"a path has at most {LONGEST_PATH_BYTES} bytes")
    return cleaned


def clean_prefix(prefix: str) -> str:
    """The same for the start of paths: empty, or a folder with its / at the end."""
    return clean_path(prefix) + "/" if prefix.strip("./") else _root(prefix)


def _root(prefix: str) -> str:
    if prefix in ("", ".", "./"):
        return ""
    raise ValueError("a path does not lead upward, and has no / at its start")
