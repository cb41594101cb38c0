"""Alerts as code: each fires when it should and else does not, names a page that tells what to do, and is sound."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.observability.programs import prometheus_program
from tests.support import CHECKOUT

PROMETHEUS = CHECKOUT / "infra" / "observability" / "prometheus"
RUNBOOKS = CHECKOUT / "docs" / "runbooks"


def rules() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def page_of(alert: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", alert).lower()


@pytest.fixture(scope="module")
def promtool() -> Path:
    found = prometheus_program("promtool")
    if found is None:
        pytest.skip("promtool is not there, and neither is apt to fetch it")
    return found


def run(promtool: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (promtool, *arguments), cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False
    )


def test_promtool_takes_settings_and_rules(promtool: Path) -> None:
    for arguments in (
        ("check", "rules", "alerts.yml"),
        ("check", "config", "--syntax-only", "prometheus.yml"),
    ):
        done = run(promtool, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_when_it_should_and_else_does_not(promtool: Path) -> None:
    done = run(promtool, "test", "rules", *sorted((PROMETHEUS / "tests").glob("*.yml")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCESS") + done.stderr.count("SUCCESS") == len(rules())


def test_a_test_that_expects_wrongly_fails(promtool: Path, tmp_path: Path) -> None:
    text = (PROMETHEUS / "tests" / "portico-edge-down.yml").read_text()
    wrong = text.replace("../alerts.yml", str(PROMETHEUS / "alerts.yml")).replace("1x20", "0x20")
    (tmp_path / "wrong.yml").write_text(wrong)
    assert run(promtool, "test", "rules", tmp_path / "wrong.yml").returncode == 1


@pytest.mark.parametrize("alert", rules())
def test_an_alert_says_what_is_wrong_and_where_to_read_on(alert: str) -> None:
    rule = rules()[alert]
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert all(rule["annotations"].values())
    assert rule["labels"]["severity"] in ("critical", "warning")
    page = CHECKOUT / rule["annotations"]["runbook_url"]
    assert page == RUNBOOKS / f"{page_of(alert)}.md"
    text = page.read_text()
    assert text.startswith(f"# {alert}\n")
    for part in ("## Look\n- ", "## Mend\n- "):
        assert part in text


@pytest.mark.parametrize("alert", rules())
def test_an_alert_has_a_test_that_lets_it_fire_and_one_that_does_not(alert: str) -> None:
    cases = yaml.safe_load((PROMETHEUS / "tests" / f"{page_of(alert)}.yml").read_text())["tests"]
    tried = [check for case in cases for check in case["alert_rule_test"]]
    assert {check["alertname"] for check in tried} == {alert}
    assert {bool(check["exp_alerts"]) for check in tried} == {True, False}


def test_there_is_no_page_or_test_of_an_alert_that_is_gone() -> None:
    known = {page_of(alert) for alert in rules()}
    assert {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"} == known
    assert {path.stem for path in (PROMETHEUS / "tests").glob("*.yml")} == known
    listed = (RUNBOOKS / "README.md").read_text()
    assert {page for page in known if f"({page}.md)" not in listed} == set()


def test_commands_in_runbooks_exist() -> None:
    known = re.findall(
        r"^#{2,3} `portico ([a-z-]+(?: [a-z-]+)?)", (CHECKOUT / "docs" / "cli.md").read_text(), re.M
    )
    services = set(yaml.safe_load((CHECKOUT / "compose.yaml").read_text())["services"])
    for path in RUNBOOKS.glob("*.md"):
        text = " ".join(path.read_text().split())
        for command in re.findall(r"`portico ([a-z-]+(?: [a-z-]+)?)[^`]*`", text):
            assert command in known or command.split()[0] in known, (path.name, command)
        for named in re.findall(
            r"`docker compose (?:logs|restart|ps|up --wait) ((?:--tail \d+ )?[a-z0-9 -]+)`", text
        ):
            assert set(re.sub(r"--tail \d+ ", "", named).split()) <= services, (path.name, named)


def test_prometheus_asks_every_part_that_tells_something() -> None:
    jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    assert {job["job_name"] for job in jobs} == {
        "portico-api",
        "portico-worker",
        "sandbox",
        "temporal",
        "triton",
        "opa",
    }
    named = set(re.findall(r'job=~?"([\w|-]+)"', (PROMETHEUS / "alerts.yml").read_text()))
    assert {name for one in named for name in one.split("|")} <= {job["job_name"] for job in jobs}
