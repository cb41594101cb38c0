"""What the edge counts, in Prometheus' terms. Labels are names of channels and codes, never of people."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 1, 3, 10)


class Metrics:
    """Counters of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.events = Counter(
            "portico_events_total", "Events by channel and end", ["channel", "end"], registry=self.registry
        )
        self.ack_s = Histogram(
            "portico_ack_seconds",
            "Time from the request to the ack of a stored event",
            ["channel"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )

    def exposition(self) -> bytes:
        return generate_latest(self.registry)
