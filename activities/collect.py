"""Fetches what the platform holds of a message and stores it as encrypted blobs."""

from __future__ import annotations

from temporalio import activity

from activities.deps import Deps
from activities.heartbeat import beating
from channels.base import Account, Fetches
from channels.registry import load
from portico.contracts.messages import Attachment
from portico.contracts.steps import Collected, CollectInput
from portico.errors import NotFound, TooLarge


class CollectSteps:
    """An attachment that cannot be had is named, and the message goes on without it."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    @activity.defn(name="collect")
    async def collect(self, given: CollectInput) -> Collected:
        """Raises `Unavailable` while the platform or S3 is unavailable."""
        account = self._deps.accounts.get(given.conversation.channel, given.conversation.account)
        stored: list[Attachment] = []
        failed: list[str] = []
        async with beating():
            for attachment in given.attachments:
                try:
                    stored.append(await self._stored(attachment, account))
                except (NotFound, TooLarge):
                    failed.append(attachment.name or attachment.media_type)
                    stored.append(attachment)
        return Collected(attachments=tuple(stored), failed=tuple(failed))

    async def _stored(self, attachment: Attachment, account: Account) -> Attachment:
        if attachment.blob is not None:
            return attachment
        channel = load(account.channel)
        if not isinstance(channel, Fetches):
            raise NotFound("an attachment")
        content = await channel.fetch(
            attachment, account, limit_bytes=self._deps.settings.limits.attachment_bytes
        )
        blob = await self._deps.blobs.put(content)
        return attachment.model_copy(update={"blob": blob, "size_bytes": len(content)})
