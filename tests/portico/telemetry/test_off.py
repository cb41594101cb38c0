"""Who asks for nothing pays nothing; what is asked for wrongly is said in one line; what is told is bounded."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import uuid

import pytest
from pydantic import ValidationError

from entrypoints.serve.observe import watch
from portico.errors import Misconfigured
from portico.settings.settings import Settings
from portico.settings.telemetry import TelemetrySettings
from portico.telemetry import otlp, start
from portico.telemetry.traces import clean, is_sampled, span_id, trace_id, turn_of
from portico.telemetry.worker_metrics import label, sdk_runtime
from tests.support import CHECKOUT

TURN = "0123456789abcdef0123456789abcdef"


def settings(**telemetry: object) -> Settings:
    return Settings(telemetry=TelemetrySettings.model_validate(telemetry))


def test_by_default_nothing_is_loaded_or_started() -> None:
    script = (
        "import sys\n"
        "import entrypoints.serve.api, entrypoints.serve.worker\n"
        "from entrypoints.serve.observe import watch\n"
        "from portico.settings.settings import Settings\n"
        "watching = watch(Settings())\n"
        "assert watching.runtime is None and not watching.interceptors and not watching.traces.on\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    done = subprocess.run(
        (sys.executable, "-c", script), cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"otlp_endpoint": "collector:4318"}, "http"),
        ({"otlp_endpoint": "http://user:secret@collector:4318"}, "password"),
        ({"sample_ratio": 1.5}, "less than or equal to 1"),
        ({"metrics_address": "9464"}, "host:port"),
        ({"metrics_address": "127.0.0.1:99999"}, "host:port"),
        ({"metrics_token": "short"}, "24 characters"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TelemetrySettings.model_validate(given)


def test_in_local_mode_a_collector_outside_is_refused() -> None:
    with pytest.raises(Misconfigured, match="local_only"):
        watch(settings(otlp_endpoint="http://93.184.215.14:4318"))


def test_a_collector_inside_or_not_there_yet_is_no_reason_not_to_start() -> None:
    for endpoint in ("http://127.0.0.1:9", "http://10.1.2.3:4318", "http://collector.invalid:4318"):
        started = start.start_traces(settings(otlp_endpoint=endpoint), part="worker")
        assert isinstance(started, otlp.OtlpTraces)
        started.close()


def test_a_collector_that_hangs_does_not_keep_a_process_from_ending() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        started = start.start_traces(settings(otlp_endpoint=endpoint), part="worker")
        for _ in range(otlp.WAITING_SPANS + 100):
            with started.span("step", TURN):
                pass
        began = time.monotonic()
        started.close()
        assert time.monotonic() - began < otlp.CLOSE_WITHIN_S + 1


def test_a_taken_metrics_address_is_said_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Misconfigured, match=address):
            sdk_runtime(address)


def test_a_trace_has_its_turns_id() -> None:
    assert f"{trace_id(TURN):032x}" == TURN
    assert turn_of(f"tool-{TURN}-3") == TURN
    assert turn_of("tool-abc-xyz") == "tool-abc-xyz"
    assert trace_id("") == trace_id("") != trace_id("0" * 32) != 0
    assert span_id(TURN, "root") != span_id(TURN, "turn") != 0


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_about_the_asked_share_of_turns_is_sampled(ratio: float) -> None:
    taken = sum(is_sampled(trace_id(uuid.uuid4().hex), ratio) for _ in range(4000))
    assert taken == pytest.approx(4000 * ratio, abs=150 if 0 < ratio < 1 else 0)


def test_facts_that_are_no_ids_or_names_are_not_told() -> None:
    told = clean({"tool": "what my neighbor said", "route": "main", "attempt": 2, "channel": None})
    assert told == {"portico.tool": "(redacted)", "portico.route": "main", "temporal.attempt": 2}
    with pytest.raises(KeyError):
        clean({"text": "hello"})


def test_a_label_that_is_no_name_makes_no_series_of_its_own() -> None:
    assert label("main") == "main"
    assert label("what my neighbor said") == label("x" * 65) == label("") == "other"
