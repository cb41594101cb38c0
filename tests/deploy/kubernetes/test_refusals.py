"""What values are refused, each with a line that says what to do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.kubernetes.chart import NODE_CHART, PLAIN, a_set, merged, render, try_render

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(300)]
THREE = {"a": a_set("portico"), "b": a_set("portico-tools"), "c": a_set("portico-delivery")}
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("a key that is none", {"replicas": 3}, "additional properties 'replicas' not allowed"),
    ("a misspelt key deep down", {"api": {"replica": 3}}, "additional properties 'replica' not allowed"),
    ("no replicas", {"api": {"replicas": 0}}, "at '/api/replicas'"),
    ("a word for a number", {"api": {"replicas": "two"}}, "at '/api/replicas'"),
    ("a moving image", {"images": {"api": {"tag": "latest"}}}, "at '/images/api/tag'"),
    ("a moving version", {"version": "latest"}, "at '/version'"),
    ("half a digest", {"images": {"api": {"digest": "sha256:abc"}}}, "at '/images/api/digest'"),
    ("a secret among the values", {"database": {"password": "hunter2"}}, "'password' not allowed"),
    ("no site", {"site": ""}, "site is not set"),
    ("a site that is none", {"site": "chat_example"}, "at '/site'"),
    ("no Temporal", {"temporal": {"address": ""}}, "temporal.address is not set"),
    ("Temporal without a port", {"temporal": {"address": "temporal"}}, "at '/temporal/address'"),
    (
        "a certificate for nothing",
        {"temporal": {"tls": {"secret": "temporal-tls"}}},
        "temporal.tls.enabled is false",
    ),
    (
        "a certificate from nowhere",
        {"temporal": {"tls": {"enabled": True, "clientCertificate": True}}},
        "needs temporal.tls.secret",
    ),
    (
        "a page that cannot log in",
        {"temporal": {"tls": {"enabled": True}, "apiKeySecret": "key"}},
        "the UI cannot log in with a key",
    ),
    ("no S3", {"storage": {"url": ""}}, "storage.url is not set"),
    ("credentials in a URL", {"storage": {"url": "https://me:secret@s3.example.com"}}, "at '/storage/url'"),
    ("nobody knows where the database is", {"database": {"peers": []}}, "database.peers is empty"),
    (
        "nobody knows where the collector is",
        {"telemetry": {"otlpEndpoint": "http://collector:4318"}},
        "telemetry.peers is empty",
    ),
    (
        "nobody knows where Prometheus is",
        {"telemetry": {"monitors": {"enabled": True}}},
        "telemetry.scrapers is empty",
    ),
    ("no Triton at all", {"triton": {"enabled": False}}, "triton.address is not set"),
    ("an unknown queue", {"worker": {"sets": {"all": a_set("mail")}}}, "at '/worker/sets/all/queues/0'"),
    ("no set", {"worker": {"sets": {"all": None}}}, "at '/worker/sets'"),
    (
        "nobody begins turns",
        {"worker": {"sets": {"all": None, "tools": a_set("portico-tools")}}},
        "no set has the queue portico",
    ),
    ("a queue that nobody polls", {"worker": {"sets": {"all": None, **THREE}}}, "portico-inference"),
    ("less than least", {"worker": {"sets": {"all": {"max": 1}}}}, "max (1) is below replicas (2)"),
    ("the same version twice", {"worker": {"previous": [{"version": "1.4.0"}]}}, "is named twice"),
    ("two versions of one name", {"worker": {"previous": [{"version": "1-4.0"}]}}, "is named twice"),
    (
        "too long a name",
        {
            "version": "1.4.0-0123456789012345678901234567890123",
            "worker": {"sets": {"a-set-so-long": a_set("portico")}},
        },
        "longer than 63",
    ),
    (
        "a way to nowhere",
        {"networkPolicy": {"inner": [{"peers": [], "ports": [11434]}]}},
        "at '/networkPolicy/inner/0/peers'",
    ),
    ("everybody one client", {"trustedProxies": []}, "trustedProxies is empty"),
    (
        "everybody one client of a Gateway",
        {
            "trustedProxies": [],
            "ingress": {"enabled": False},
            "gateway": {"enabled": True, "parentRefs": [{"name": "x"}]},
        },
        "trustedProxies is empty",
    ),
    ("everybody trusted", {"trustedProxies": ["0.0.0.0/0"]}, "at '/trustedProxies/0'"),
    ("two ways in", {"gateway": {"enabled": True, "parentRefs": [{"name": "x"}]}}, "exclude each other"),
    (
        "a route of no gateway",
        {"ingress": {"enabled": False}, "gateway": {"enabled": True}},
        "parentRefs is empty",
    ),
    ("a profile outside of the folder", {"sandbox": {"seccompProfile": "/etc/x"}}, "at '/sandbox/secc"),
    ("a nobody's secret", {"existingSecret": ""}, "at '/existingSecret'"),
]


@pytest.mark.parametrize(
    ("values", "said"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_is_refused_in_a_line(values: dict[str, Any], said: str) -> None:
    done = try_render(merged(PLAIN, **values))
    assert done.returncode != 0
    naming = [line for line in done.stderr.splitlines() if said in line]
    assert len(naming) == 1, done.stderr
    assert done.stdout == ""


def test_without_policies_nobody_has_to_say_where_things_are() -> None:
    nowhere: dict[str, Any] = {"peers": []}
    rendered = render(
        merged(PLAIN, networkPolicy={"enabled": False}, temporal=nowhere, database=nowhere, storage=nowhere)
    )
    assert not [found for found in rendered if found["kind"] == "NetworkPolicy"]


def test_the_chart_of_the_nodes_is_strict_too() -> None:
    done = try_render({"folder": "var/lib"}, chart=NODE_CHART)
    assert done.returncode != 0
    assert "at '/folder'" in done.stderr
