"""Pairing: a code for a stranger to show to the owner, and the owner's own one-time link."""

from __future__ import annotations

import time

from temporalio import activity

from activities.deps import Deps
from portico.contracts.steps import PairingAnswer, PairingInput


class PairingSteps:
    """A code stays the same while it is valid, so that a repeated step offers nothing new."""

    def __init__(self, deps: Deps) -> None:
        self._people = deps.people

    @activity.defn(name="offer_pairing")
    async def offer_pairing(self, given: PairingInput) -> PairingAnswer:
        conversation, sender = given.conversation, given.message.sender
        code = await self._people.offer_code(
            conversation.channel,
            conversation.account,
            sender.id,
            sender.name,
            conversation.chat,
            now=time.time(),
        )
        return PairingAnswer(code=code)

    @activity.defn(name="redeem_pairing")
    async def redeem_pairing(self, given: PairingInput) -> PairingAnswer:
        """No actor where the link is used up, too old or never was one."""
        conversation, message = given.conversation, given.message
        actor = await self._people.redeem_owner_link(
            message.text,
            conversation.channel,
            conversation.account,
            message.sender.id,
            message.sender.name,
            now=time.time(),
        )
        return PairingAnswer(actor=actor)
