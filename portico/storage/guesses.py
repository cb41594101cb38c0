"""Counts wrong codes and tokens for each source; too many block it until the hour is over."""

from __future__ import annotations

from portico.storage.engine.sqlcipher import Connection
from portico.storage.engine.values import Sought

WRONG_ALLOWED = 10
WINDOW_S = 3600.0


def guessed_too_often(connection: Connection, guesser: str, now: float) -> bool:
    row = connection.execute(
        "SELECT wrong, since FROM guesses WHERE guesser = ?", (Sought(guesser),)
    ).fetchone()
    return row is not None and row["wrong"] >= WRONG_ALLOWED and now - row["since"] < WINDOW_S


def guesses_left_at(connection: Connection, guesser: str) -> float:
    """When the window of a caller with too many failed attempts ends."""
    row = connection.execute("SELECT since FROM guesses WHERE guesser = ?", (Sought(guesser),)).fetchone()
    return float(row["since"]) + WINDOW_S


def count_wrong(connection: Connection, guesser: str, now: float) -> None:
    connection.execute("DELETE FROM guesses WHERE since <= ?", (now - WINDOW_S,))
    connection.execute(
        "INSERT INTO guesses (guesser, wrong, since) VALUES (?, 1, ?) "
        "ON CONFLICT (guesser) DO UPDATE SET wrong = guesses.wrong + 1",
        (Sought(guesser), now),
    )


def forget_wrong(connection: Connection, guesser: str) -> None:
    connection.execute("DELETE FROM guesses WHERE guesser = ?", (Sought(guesser),))
