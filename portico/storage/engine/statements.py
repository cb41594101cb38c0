"""Statements that both databases understand, where the short form of one is unknown to the other."""

from __future__ import annotations

from collections.abc import Sequence


def put(table: str, columns: Sequence[str], *, key: Sequence[str]) -> str:
    """INSERT a row with these columns, or replace what is there under the same key."""
    marks = ", ".join("?" for _ in columns)
    rest = ", ".join(f"{column} = excluded.{column}" for column in columns if column not in key)
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {rest}"
    )
