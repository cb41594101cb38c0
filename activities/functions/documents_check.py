"""Documents from somebody else: told by their content, and refused where they would take the machine down."""

from __future__ import annotations

import re
import zipfile

from activities.functions.archives import ArchiveLimits, ArchiveRefused, check
from portico.tool import AskAgain, File, ToolFailed

LARGEST = 50 * 1024 * 1024
LIMITS = ArchiveLimits(files=5_000, total_bytes=300 * 1024 * 1024, file_bytes=150 * 1024 * 1024, ratio=150)
OFFICE = {"docx": "word/", "xlsx": "xl/", "pptx": "ppt/"}
PLAIN = ("md", "txt", "csv", "json", "xml", "log", "yaml", "toml")
KINDS = (*OFFICE, "pdf", "html", "eml", *PLAIN)
OLD = b"\xd0\xcf\x11\xe0"
DECLARATION = re.compile(rb"<!(DOCTYPE|ENTITY)", re.IGNORECASE)
XML_NAMES = (".xml", ".rels", ".vml")


def kind_of(file: File) -> str:
    """`docx`, `pdf`, …: what the name says and the content bears out. Raises `ToolFailed` and `AskAgain`."""
    if len(file.data) > LARGEST:
        raise ToolFailed(
            f"{file.name} has {len(file.data) // 1024**2} MiB; {LARGEST // 1024**2} MiB are read"
        )
    ending = file.name.rpartition(".")[2].lower()
    ending = {"htm": "html", "markdown": "md", "yml": "yaml"}.get(ending, ending)
    if file.data.startswith(OLD):
        raise ToolFailed(f"{file.name} is locked with a password, or of a format before 2007: save it anew")
    if ending not in KINDS:
        raise AskAgain(f"{file.name}: {', '.join(KINDS)} can be read")
    if ending in OFFICE:
        check_office(file, ending)
    elif ending == "pdf" and b"%PDF-" not in file.data[:1024]:
        raise ToolFailed(f"{file.name} is no PDF")
    elif (
        ending not in ("pdf", "eml")
        and b"\0" in file.data[:4096]
        and file.data[:2] not in (b"\xff\xfe", b"\xfe\xff")
    ):
        raise ToolFailed(f"{file.name} is no text")
    return ending


def check_office(file: File, kind: str) -> None:
    """Before any library opens it: no bomb, no entities, and what it says it is. Raises `ToolFailed`."""
    try:
        archive = check(file.data, LIMITS)
        names = archive.namelist()
        if "[Content_Types].xml" not in names or not any(name.startswith(OFFICE[kind]) for name in names):
            raise ArchiveRefused(f"it is no {kind}")
        for info in archive.infolist():
            if info.filename.endswith(XML_NAMES):
                _check_xml(archive, info)
    except ArchiveRefused as refused:
        raise ToolFailed(f"{file.name}: {refused}") from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError):
        raise ToolFailed(f"{file.name}: it is damaged") from None


def _check_xml(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """The formats declare no document type; who does wants entities. UTF-16 would hide the words from this look."""
    with archive.open(info) as part:
        head = part.read(1 << 16)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head[:64]:
        raise ArchiveRefused("a part of it is not written in UTF-8")
    if DECLARATION.search(head):
        raise ArchiveRefused("a part of it declares entities, as attacks on readers do")
