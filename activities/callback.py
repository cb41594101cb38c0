"""Posts the result of a tool run to its `callbackUrl`: may it go there, and going there.

Signed as Standard Webhooks (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
Temporal repeats what may yet work, over hours; an answer that says no for good is a result, not an error.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import httpx2
import orjson
from temporalio import activity

from portico.contracts.messages import Decision, Effect, ExecutionResult
from portico.contracts.policy import EDGE, CallbackAction, PolicyContext, PolicyInput
from portico.contracts.steps import CallbackAnswer, CallbackDone, CallbackInput, CallbackQuestion
from portico.egress import guard
from portico.egress.guard import Resolve
from portico.errors import BadInput, Forbidden, Misconfigured, Unavailable
from portico.logs import logger
from portico.policy.opa import PolicyClient
from portico.retry_after import retry_after_s
from portico.settings.settings import Settings
from portico.storage.objects.blobs import BlobStore
from portico.storage.secrets import SecretStore
from portico.tools.callbacks import (
    callback_body,
    callback_headers,
    callback_secret,
    check_callback_url,
    read_callback_url,
)

TIMEOUT = httpx2.Timeout(connect=5.0, write=10.0, read=15.0, pool=5.0)
WHOLE_S = 25.0
GONE = 410
COME_AGAIN = (408, 409, 425, 429)
CLEAR_NOES = 3
"""Answers that look like a no for good may come from a half-done deployment; three of them are believed."""

log = logger("callback")


@dataclass(frozen=True)
class _CallbackResponse:
    """The response to a callback, without its body."""

    status: int
    retry_after_s: float | None = None


class CallbackSteps:
    """The two steps of a callback."""

    def __init__(
        self,
        settings: Settings,
        policy: PolicyClient,
        store: SecretStore,
        *,
        blobs: BlobStore | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._store = store
        self._blobs = blobs
        self._resolve = resolve
        self._client: httpx2.AsyncClient | None = None

    @activity.defn(name="authorize_callback")
    async def authorize_callback(self, question: CallbackQuestion) -> CallbackAnswer:
        """Asked with the settings of this moment: those at the request may be hours old."""
        try:
            place = read_callback_url(question.url, self._settings)
        except BadInput as error:
            refused = Decision(effect=Effect.DENY, reasons=(error.message,), decision_id=question.decision_id)
            return CallbackAnswer(decision=refused)
        action = CallbackAction(host=place.host, port=place.port, named=place.named)
        asked = PolicyInput.about(
            action,
            actor=question.actor,
            conversation=question.conversation or EDGE,
            group=False,
            context=PolicyContext.at(time.time(), local_only=self._settings.local_only),
        )
        decision = await self._policy.decide("egress", asked, decision_id=question.decision_id)
        return CallbackAnswer(decision=decision)

    @activity.defn(name="post_callback")
    async def post_callback(self, given: CallbackInput) -> CallbackDone:
        """One attempt. Raises `Unavailable` where a later one may work."""
        attempt = activity.info().attempt
        try:
            check_callback_url(given.url, self._settings)
            said = await self._post(given)
        except (BadInput, Forbidden) as error:
            if attempt < CLEAR_NOES:
                raise Unavailable("the callback", error.message) from None
            return CallbackDone(outcome="refused", attempts=attempt, reason=error.message)
        log.info("callback.answered", invocation=given.invocation_id, status=said.status, attempt=attempt)
        return _outcome(said, attempt)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _post(self, given: CallbackInput) -> _CallbackResponse:
        body = callback_body(await self._whole(given.result))
        secret = await callback_secret(self._store)
        try:
            headers = callback_headers(secret, webhook_id=given.invocation_id, body=body)
        except ValueError:
            raise Misconfigured("the secret `callbacks` is not whsec_ and base64") from None
        try:
            async with (
                asyncio.timeout(WHOLE_S),
                self._http().stream("POST", given.url, content=body, headers=headers) as answer,
            ):
                return _CallbackResponse(answer.status_code, retry_after_s(answer.headers.get("retry-after")))
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
            raise Unavailable("the callback", type(error).__name__) from None

    async def _whole(self, result: ExecutionResult) -> ExecutionResult:
        """With the output that was too large for the history, and what is in its place there left out."""
        if result.output_blob is None or self._blobs is None:
            return result
        output = orjson.loads(await self._blobs.get(result.output_blob))
        return result.model_copy(update={"output": output, "output_blob": None})

    def _http(self) -> httpx2.AsyncClient:
        """One client: a name's addresses are looked up and checked for every connection that it opens."""
        if self._client is None:
            settings = self._settings
            allowed = guard.network(settings, allow=settings.tools.callback_hosts)
            self._client = guard.client(allowed, timeout=TIMEOUT, resolve=self._resolve)
        return self._client


def _outcome(said: _CallbackResponse, attempt: int) -> CallbackDone:
    status = said.status
    if 200 <= status < 300:
        return CallbackDone(status=status, attempts=attempt)
    reason = f"it answered {status}"
    if 300 <= status < 400:
        reason += "; redirects are not followed"
    final = status == GONE or (300 <= status < 500 and status not in COME_AGAIN and attempt >= CLEAR_NOES)
    if final:
        return CallbackDone(outcome="refused", status=status, attempts=attempt, reason=reason)
    raise Unavailable("the callback", reason, retry_after_s=said.retry_after_s)
