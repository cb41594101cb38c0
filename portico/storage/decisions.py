"""Decisions at the edge, which no workflow records, written before the effect that they allow."""

from __future__ import annotations

import json

from portico.contracts.messages import Decision
from portico.storage.engine.database import Database
from portico.storage.engine.sqlcipher import Connection


class Decisions:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def record(self, decision: Decision, question: str, input_digest: str, now: float) -> None:
        """Durable when it returns; recording the same decision again changes nothing."""
        values = (
            decision.decision_id,
            question,
            decision.effect.value,
            json.dumps(decision.reasons),
            json.dumps([obligation.model_dump(mode="json") for obligation in decision.obligations]),
            decision.revision,
            input_digest,
            now,
        )

        def work(connection: Connection) -> None:
            connection.execute(
                "INSERT INTO decisions "
                "(decision_id, question, effect, reasons, obligations, revision, input_digest, at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                values,
            )

        await self._db.write(work, durable=True)
