"""Metrics of the worker, exported to Prometheus by the SDK's own server next to the SDK's metrics.

Label values are names from settings, code and catalog: never ids, never content.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from temporalio.common import MetricMeter
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from portico.errors import Misconfigured

STEP_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
TURN_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
SECONDS = "seconds"

_LABEL = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def sdk_runtime(address: str = "", *, json_lines: bool = False) -> Runtime | None:
    """The SDK's runtime with a metrics address and JSON logs; None if neither is wanted.

    Raises `Misconfigured` if the address cannot be bound.
    """
    if not address and not json_lines:
        return None
    telemetry = TelemetryConfig(
        logging=_through_python() if json_lines else LoggingConfig.default,
        metrics=_prometheus(address) if address else None,
        attach_service_name=False,
    )
    try:
        return Runtime(telemetry=telemetry)
    except (RuntimeError, ValueError) as error:
        raise Misconfigured(f"telemetry.metrics_address: {address} cannot be bound") from error


def _prometheus(address: str) -> PrometheusConfig:
    return PrometheusConfig(
        bind_address=address,
        counters_total_suffix=True,
        unit_suffix=True,
        durations_as_seconds=True,
        histogram_bucket_overrides={"portico_step": STEP_S, "portico_turn": TURN_S},
    )


def _through_python() -> LoggingConfig:
    forward = LogForwardingConfig(logging.getLogger("temporalio.core"), append_target_to_name=False)
    return LoggingConfig(TelemetryFilter(core_level="WARN", other_level="ERROR"), forward)


def label(value: str) -> str:
    """A name as a label value; other values become `other`, so that the number of series stays bounded."""
    return value if _LABEL.fullmatch(value) else "other"


class WorkerMetrics:
    """Metrics of the worker. With a no-op meter they cost next to nothing."""

    def __init__(self, meter: MetricMeter) -> None:
        self._step = meter.create_histogram_float(
            "portico_step", "Time that a step of a turn or tool run took, one attempt", SECONDS
        )
        self._arrivals = meter.create_counter(
            "portico_arrivals", "Events that conversations have looked at, by channel and end"
        )
        self._decisions = meter.create_counter(
            "portico_decisions", "Answers of policy, by question and effect"
        )
        self._deliveries = meter.create_counter(
            "portico_deliveries", "Replies that left, by channel and outcome"
        )
        self._repeats = meter.create_counter(
            "portico_delivery_possible_repeats", "Messages sent again, marked, after an unknown end"
        )
        self._dead_letters = meter.create_counter(
            "portico_dead_letters", "Turns that failed for good, by code"
        )
        self._tool_runs = meter.create_counter(
            "portico_tool_runs", "Calls of tools, by tool and how they ended"
        )
        self._tokens = meter.create_counter("portico_model_tokens", "Tokens, by route and direction")

    def begin(self, channels: Iterable[str]) -> None:
        """Create the series that alerts use: `increase()` needs a first sample."""
        for channel in channels:
            for outcome in ("sent", "refused", "held"):
                self._deliveries.add(0, {"channel": label(channel), "outcome": outcome})
            self._repeats.add(0, {"channel": label(channel)})
        self._dead_letters.add(0, {"code": "internal"})

    def step(self, step: str, end: str, seconds: float) -> None:
        self._step.record(seconds, {"step": label(step), "end": end})

    def arrival(self, channel: str, end: str) -> None:
        self._arrivals.add(1, {"channel": label(channel), "end": end})

    def decision(self, question: str, effect: str) -> None:
        self._decisions.add(1, {"question": label(question), "effect": effect})

    def delivery(self, channel: str, outcome: str, *, marked: int) -> None:
        self._deliveries.add(1, {"channel": label(channel), "outcome": outcome})
        if marked:
            self._repeats.add(marked, {"channel": label(channel)})

    def dead_letter(self, code: str) -> None:
        self._dead_letters.add(1, {"code": label(code)})

    def tool_run(self, tool: str, status: str) -> None:
        self._tool_runs.add(1, {"tool": label(tool), "status": status})

    def tokens(self, route: str, direction: str, number: int) -> None:
        if number > 0:
            self._tokens.add(number, {"route": label(route), "direction": direction})
