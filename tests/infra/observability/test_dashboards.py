"""Dashboards as code: what is committed is what the script writes, and Grafana can take it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.observability.programs import prometheus_program
from tests.support import CHECKOUT

GRAFANA = CHECKOUT / "infra" / "observability" / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
UNITS = {"short", "reqps", "s", "µs", "percentunit"}


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_what_is_committed_is_what_the_script_writes(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; import sys; from infra.observability.grafana import make; "
        "make.FOLDER = Path(sys.argv[1]); make.main()"
    )
    subprocess.run((sys.executable, "-c", script, tmp_path), cwd=CHECKOUT, check=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        path.name: path.read_text() for path in DASHBOARDS
    }


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path: Path) -> None:
    dashboard = read(path)
    assert {"uid", "title", "panels", "schemaVersion", "time", "refresh"} <= set(dashboard)
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels), "no panel covers another"
    for panel in panels:
        assert panel["type"] in ("timeseries", "stat")
        assert panel["title"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0


def test_panels_ask_the_source_that_is_provided() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    for path in DASHBOARDS:
        for panel in read(path)["panels"]:
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {source["uid"]}


def test_every_query_is_promql(tmp_path: Path) -> None:
    """As rules, because those promtool reads."""
    promtool = prometheus_program("promtool")
    if promtool is None:
        pytest.skip("promtool is not there, and neither is apt to fetch it")
    queries = [
        target["expr"] for path in DASHBOARDS for panel in read(path)["panels"] for target in panel["targets"]
    ]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run((promtool, "check", "rules", file), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_panel_is_in_the_documentation() -> None:
    page = (CHECKOUT / "docs" / "observability.md").read_text()
    titles = [panel["title"] for path in DASHBOARDS for panel in read(path)["panels"]]
    assert [title for title in titles if title not in page] == []
