"""The only place with timeouts, retry policies and heartbeats. Each says why it is what it is."""

from __future__ import annotations

from datetime import timedelta

from temporalio.common import RetryPolicy

LOCAL_SCHEDULE_TO_CLOSE = timedelta(seconds=3)
"""A retrying local activity delays timers and signals of its workflow; three seconds is what people forgive."""

LOCAL_ATTEMPTS = RetryPolicy(
    initial_interval=timedelta(milliseconds=100),
    maximum_attempts=2,
    maximum_interval=timedelta(milliseconds=200),
)
"""One hiccup is retried at once; what fails twice is an unavailable part, which a regular activity waits for."""

PATIENT = RetryPolicy(
    initial_interval=timedelta(milliseconds=250),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=5),
)
"""A part is unavailable: ask for ever, at most 5 s after it is back."""

STEP_START_TO_CLOSE = timedelta(seconds=10)
"""A sub-second step that takes longer has lost its part; the next attempt finds it or waits."""

DELIVERY_PATIENCE = RetryPolicy(
    initial_interval=timedelta(milliseconds=500),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=60),
)
"""A platform may be away for hours; a minute between attempts is polite and loses nothing."""

DELIVER_START_TO_CLOSE = timedelta(seconds=45)
"""Longer than the slowest platform call (30 s), so that an attempt ends by its own timeout, with a known end."""

DELIVER_HEARTBEAT = timedelta(seconds=10)
"""It beats every second while the platform thinks; a lost worker delays a reply by this and not by the above."""

GENERATE_START_TO_CLOSE = timedelta(minutes=10)
"""A long answer of a slow local model; a lost worker is noticed by the heartbeat, not by this."""

GENERATE_HEARTBEAT = timedelta(seconds=10)
"""The activity beats every 2 s or faster, also while it waits for the first token; 10 s allows a busy machine."""

GENERATE_ATTEMPTS = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2.0, maximum_interval=timedelta(seconds=15)
)
"""A model that is loading or restarting comes back within seconds; a person can always say /stop."""

GENERATE_BRIEFLY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=2)
"""Another model may answer instead: one repetition for a hiccup, then that one is asked."""

COLLECT_START_TO_CLOSE = timedelta(minutes=2)
"""The largest attachment over a slow line."""

COLLECT_ATTEMPTS = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=4)
"""A platform that does not give its file in four tries is named in the reply; the words are not kept waiting."""

ONCE = RetryPolicy(maximum_attempts=1)
"""An effect that did not declare itself repeatable is never repeated."""

TOOL_ATTEMPTS = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3)
"""A repeatable tool that fails three times has failed."""

TOOL_HEARTBEAT = timedelta(seconds=10)
"""Tools beat every 2 s, so that a killed worker is noticed soon."""

TOOL_SPARE = timedelta(seconds=30)
"""Beside the tool's own time: waiting for a place among others (20 s), starting its process, being stopped."""

CALLBACK_START_TO_CLOSE = timedelta(seconds=40)
"""An attempt ends by itself after 25 s."""

CALLBACK_ATTEMPTS = RetryPolicy(
    initial_interval=timedelta(seconds=5), backoff_coefficient=2.0, maximum_interval=timedelta(hours=1)
)
"""A receiver may be away for hours; it is asked often at first and once an hour later."""

CALLBACK_WHOLE = timedelta(hours=24)
"""After a day the callback is given up; the result can still be read."""

NOTICE_AFTER = timedelta(seconds=20)
"""After this long without a part the person gets a notice."""

RENEWAL_TICK = timedelta(hours=24)
"""How often a conversation looks whether it should continue as new although Temporal has not suggested it."""

IDLE_BEFORE_RENEWAL = timedelta(hours=1)
"""A conversation that just rests for an hour is idle: its run can be closed, so that its history ages out."""

OLDEST_RUN = timedelta(days=6)
"""Carried state in external storage is kept for retention + 7 days; it is rewritten before that."""


def queue(name: str, *, split: bool) -> str | None:
    """A task queue of its own where the cluster scales each by itself; else the workflow's own queue.

    On one queue the server hands an activity to the worker that asked for it, without a dispatch.
    """
    return name if split else None
