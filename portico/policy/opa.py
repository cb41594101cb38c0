"""The OPA client. One query returns readiness, the bundle's revision and the decision.

No retries here: Temporal retries `Unavailable`, and nothing passes until then.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import orjson
from opa_client.opa_async import AsyncOpaClient
from pydantic import SecretStr, ValidationError

from portico.contracts.messages import Decision, Effect
from portico.contracts.policy import PolicyInput, Question
from portico.errors import Misconfigured, Unavailable

GATE = "system.gate.answers"
TIMEOUT_S = 1.0
# A rule that fails (a wrong type in a user's rule, say) must not count as an undefined rule.
STRICT = {"strict-builtin-errors": "true"}
CONNECTIONS = 32
INTERNAL_ERROR = 500


class PolicyClient:
    """One for each process and event loop; connections open at the first query and are kept."""

    def __init__(self, url: str, token: SecretStr, *, timeout_s: float = TIMEOUT_S) -> None:
        self._client = _Client(url, token, timeout_s)

    async def decide(
        self, question: Question, policy_input: PolicyInput, *, decision_id: str = ""
    ) -> Decision:
        """The decision, with its id (`decision_id`, else a new one) and the revision of the bundle.

        Raises `Unavailable` while OPA or its bundle is unavailable, `Misconfigured` if a rule fails on this
        input. A rule that is undefined in a ready bundle denies.
        """
        answer = await self._ask(question, policy_input.model_dump(mode="json"))
        if answer.get("ready") is not True or not answer.get("revision"):
            raise Unavailable("OPA", "its bundle is not loaded")
        verdict = answer.get("decision") or {"effect": Effect.DENY, "reasons": ("no rule allowed it",)}
        try:
            return Decision.model_validate(
                {**verdict, "decision_id": decision_id or uuid4().hex, "revision": answer["revision"]}
            )
        except (ValidationError, TypeError) as error:
            raise Misconfigured(f"the policy for '{question}' returns no valid decision") from error

    async def revision(self) -> str:
        """The revision of the bundle that is loaded. Raises `Unavailable` when none is ready."""
        answer = await self._ask("policy", {})
        if answer.get("ready") is not True:
            raise Unavailable("OPA", "its bundle is not loaded")
        return str(answer["revision"])

    async def close(self) -> None:
        await self._client.close_connection()

    async def _ask(self, topic: str, content: dict[str, Any]) -> dict[str, Any]:
        await self._client.open()
        try:
            answer = await self._client.query_rule(content, GATE, topic, query_params=STRICT)
        except aiohttp.ClientResponseError as error:
            if error.status == INTERNAL_ERROR and topic != "policy" and await self.revision():
                # The bundle is loaded, so a rule failed on this input; a retry would fail too.
                raise Misconfigured(f"a rule for '{topic}' fails on its input") from error
            raise Unavailable("OPA", f"status {error.status}") from error
        except TimeoutError as error:
            raise Unavailable("OPA", "no response in time") from error
        except aiohttp.ClientError as error:
            raise Unavailable("OPA", type(error).__name__) from error
        result = answer.get("result") if isinstance(answer, dict) else None
        return result if isinstance(result, dict) else {}


class _Client(AsyncOpaClient):  # type: ignore[misc]
    """The library's client with one session: no retries, no cookies, no proxies of the environment."""

    def __init__(self, url: str, token: SecretStr, timeout_s: float) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"} or not host:
            raise Misconfigured("policy.url must look like http://127.0.0.1:8181")
        super().__init__(
            host=f"[{host}]" if ":" in host else host,
            port=parts.port or (443 if secure else 80),
            ssl=secure,
            token=token.get_secret_value(),
            retries=0,
            timeout=timeout_s,
        )

    async def _init_session(self) -> None:
        self._connector = aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=60)
        self._session = aiohttp.ClientSession(
            headers=self.headers,
            connector=self._connector,
            timeout=aiohttp.ClientTimeout(total=self.timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            json_serialize=lambda content: orjson.dumps(content).decode(),
            trust_env=False,
        )

    async def open(self) -> None:
        """Create the session, inside the event loop that uses it."""
        if self._session is None:
            await self._init_session()
