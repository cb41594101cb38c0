"""How a value of a statement is to be kept, where the database is not one encrypted file.

Repositories mark what a person wrote, or what identifies them. The embedded database encrypts every page and
takes these as plain text; PostgreSQL stores them as its adapter says (`portico.storage.engine.postgres`).
"""

from __future__ import annotations


class Private(str):
    """Text that is only ever read back. Encrypted with a random nonce: no statement can compare it."""

    __slots__ = ()


class Sought(str):
    """Text that statements compare for equality. Encrypted so that equal texts stay equal, and nothing else."""

    __slots__ = ()


class Words(str):
    """Text that is searched by its words. Only keyed tokens of the words are kept."""

    __slots__ = ()
