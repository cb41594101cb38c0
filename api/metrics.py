"""What the edge counts, in Prometheus' terms. Labels are names of channels and codes, never of people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from api.backlog import Backlog
from portico.storage.route_health import RouteState
from portico.storage.usage import UsageRow
from portico.triton.understand_cache import CacheCounts

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

        self.openai_requests = Counter(
            "portico_openai_requests_total",
            "Requests at the OpenAI-compatible endpoint by status; a stream counts as it began",
            ["path", "status"],
            registry=self.registry,
        )
        self._models = _ModelGauges(self.registry)
        self._waiting = _WaitingGauges(self.registry)
        self.understood = Gauge(
            "portico_understood_texts",
            "Texts understood since the worker's start: from memory, with an equal one, by asking Triton",
            ["answered"],
            registry=self.registry,
        )
        self.understand_cache_bytes = Gauge(
            "portico_understand_cache_bytes", "Size of the worker's memory of texts", registry=self.registry
        )
        self.understand_hit_rate = Gauge(
            "portico_understand_hit_rate", "Share of texts that did not cost Triton", registry=self.registry
        )
        self.tools = Gauge(
            "portico_tools",
            "Tools that are there, by whether they can run now",
            ["state"],
            registry=self.registry,
        )
        self.tool_problems = Gauge(
            "portico_tool_problems",
            "Files and servers that should give tools and do not",
            registry=self.registry,
        )

    def show_models(
        self, health: Mapping[str, RouteState], usage: Sequence[UsageRow], waiting: Mapping[str, int]
    ) -> None:
        """What the database knows of language models, of all processes together; and who waits here."""
        self._models.show(health, usage, waiting)

    def show_waiting(
        self, backlogs: Sequence[Backlog], outbox: tuple[int, float], *, dead_letters: int
    ) -> None:
        """What all processes together have not done yet, and what a person has to look at."""
        self._waiting.show(backlogs, outbox, dead_letters)

    def show_tools(self, unavailable: Sequence[str], problems: Sequence[str]) -> None:
        """What the worker published; `unavailable` has one entry a tool, empty where it can run."""
        for state in ("ready", "unavailable"):
            self.tools.labels(state).set(sum(bool(why) == (state == "unavailable") for why in unavailable))
        self.tool_problems.set(len(problems))

    def show_understanding(self, counts: CacheCounts | None) -> None:
        """What the worker's memory of texts brought since its start; nothing before it has one."""
        if counts is None:
            return
        for answered, number in (("kept", counts.hits), ("joined", counts.joined), ("asked", counts.misses)):
            self.understood.labels(answered).set(number)
        self.understand_cache_bytes.set(counts.size_bytes)
        self.understand_hit_rate.set(counts.hit_rate)

    def exposition(self) -> bytes:
        return generate_latest(self.registry)


class _WaitingGauges:
    """Queues of the whole gateway; of which process they are asked does not matter."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, words: str, *labels: str) -> Gauge:
            return Gauge(f"portico_{name}", words, labels, registry=registry)

        self._tasks = gauge("task_queue_backlog", "Tasks that no worker has taken", "queue", "kind")
        self._age = gauge(
            "task_queue_backlog_age_seconds", "How long the first of them waits", "queue", "kind"
        )
        self._pollers = gauge("task_queue_pollers", "Workers that asked lately", "queue", "kind")
        self._unsent = gauge("outbox_waiting", "Messages to platforms that have not left")
        self._unsent_age = gauge("outbox_oldest_seconds", "How long the oldest of them waits")
        self._dead_letters = gauge("dead_letters_open", "Turns that failed and wait for a person")

    def show(self, backlogs: Sequence[Backlog], outbox: tuple[int, float], dead_letters: int) -> None:
        for gauge in (self._tasks, self._age, self._pollers):
            gauge.clear()  # rather none than old ones while Temporal is unavailable
        for one in backlogs:
            self._tasks.labels(one.queue, one.kind).set(one.tasks)
            self._age.labels(one.queue, one.kind).set(one.age_s)
            self._pollers.labels(one.queue, one.kind).set(one.pollers)
        self._unsent.set(outbox[0])
        self._unsent_age.set(outbox[1])
        self._dead_letters.set(dead_letters)


class _ModelGauges:
    """By route: whether it fails, and what today (UTC) brought."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, words: str, *labels: str) -> Gauge:
            return Gauge(f"portico_model_{name}", words, ["route", *labels], registry=registry)

        self._failing = gauge("route_failing", "Failures of a route since its last answer")
        self._answers = gauge("answers_today", "Answers of a route today")
        self._tokens = gauge("tokens_today", "Tokens of a route today", "direction")
        self._waiting = gauge("door_waiting", "Programs that wait for a place of a model at the edge")
        self._cost = gauge("cost_today", "What a route cost today, in the currency of the settings")

    def show(
        self, health: Mapping[str, RouteState], usage: Sequence[UsageRow], waiting: Mapping[str, int]
    ) -> None:
        for gauge in (self._failing, self._answers, self._tokens, self._cost, self._waiting):
            gauge.clear()
        for route, count in waiting.items():
            self._waiting.labels(route).set(count)
        for route, state in health.items():
            self._failing.labels(route).set(state.failing)
        for row in usage:
            self._answers.labels(row.route).inc(row.answers)
            self._tokens.labels(row.route, "input").inc(row.input_tokens)
            self._tokens.labels(row.route, "output").inc(row.output_tokens)
            self._cost.labels(row.route).inc(row.cost)
