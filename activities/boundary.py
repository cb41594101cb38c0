"""The activity boundary: every error of an activity becomes one of Temporal's, with a code and bounded text.

A retryable error (a part is unavailable) is repeated by Temporal; anything else ends the step for good, and the turn
boundary of the workflow makes a dead letter of it.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

from portico.errors import PorticoError
from portico.logs import logger
from portico.retry_after import retry_after_s

MESSAGE_LIMIT = 300

log = logger("activities")


class BoundaryInterceptor(Interceptor):
    """Puts the boundary around every activity of a worker."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Boundary(super().intercept_activity(next))


class _Boundary(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await self.next.execute_activity(input)
        except (asyncio.CancelledError, CancelledError, ApplicationError):
            raise
        except PorticoError as error:
            raise translated(error) from error
        except Exception as error:
            log.exception("activity.bug", activity=input.fn.__name__)
            raise ApplicationError(
                f"{type(error).__name__} in {input.fn.__name__}", type="internal", non_retryable=True
            ) from None


def translated(error: PorticoError) -> ApplicationError:
    """The same fact in Temporal's terms. A known waiting time becomes the delay of the next attempt."""
    delay_s = retry_after_s(getattr(error, "retry_after_s", None))
    return ApplicationError(
        error.message[:MESSAGE_LIMIT],
        type=error.code,
        non_retryable=not error.retryable,
        next_retry_delay=timedelta(seconds=delay_s) if delay_s else None,
    )
