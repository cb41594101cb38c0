"""The chart's values without Helm: what its schema takes and refuses, and that both files tell of the same keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from tests.support import CHECKOUT

CHARTS = CHECKOUT / "infra" / "kubernetes"
CHART = CHARTS / "portico"
FREE = (
    "resources",
    "nodeSelector",
    "tolerations",
    "annotations",
    "sets",
    "dns",
    "peers",
    "previous",
    "global",
)
"""Tables whose keys are Kubernetes' or the team's own."""


def _schema(chart: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CHARTS / chart / "values.schema.json").read_text())
    return found


def _values(chart: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CHARTS / chart / "values.yaml").read_text())
    return found


def _problems(values: Mapping[str, Any]) -> list[str]:
    return [error.message for error in Draft7Validator(_schema("portico")).iter_errors(values)]


@pytest.mark.parametrize("chart", ["portico", "portico-node"])
def test_the_shipped_values_fit_the_schema(chart: str) -> None:
    Draft7Validator.check_schema(_schema(chart))
    assert [error.message for error in Draft7Validator(_schema(chart)).iter_errors(_values(chart))] == []


@pytest.mark.parametrize("chart", ["portico", "portico-node"])
def test_every_key_of_the_schema_is_explained_in_the_values(chart: str) -> None:
    schema, values = _schema(chart), _values(chart)
    assert set(_paths_of_schema(schema, schema)) == set(_paths_of_values(values))


def _paths_of_schema(table: dict[str, Any], root: dict[str, Any], path: str = "") -> Iterator[str]:
    if "$ref" in table:
        table = root["$defs"][table["$ref"].rsplit("/", 1)[1]]
    for name, value in table.get("properties", {}).items():
        if name == "global":
            continue
        yield f"{path}.{name}"
        if name not in FREE:
            yield from _paths_of_schema(value, root, f"{path}.{name}")


def _paths_of_values(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield f"{path}.{name}"
        if isinstance(value, dict) and name not in FREE:
            yield from _paths_of_values(value, f"{path}.{name}")


def test_no_table_is_open_for_a_misspelt_key() -> None:
    assert [place for place, table in _tables(_schema("portico")) if not _is_closed(table)] == []


def _tables(schema: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema:
            yield place, schema
        for name, value in schema.items():
            yield from _tables(value, f"{place}/{name}")


def _is_closed(table: dict[str, Any]) -> bool:
    return table.get("additionalProperties") is False


@pytest.mark.parametrize(
    "values",
    [
        {"apis": {}},
        {"api": {"replica": 2}},
        {"api": {"replicas": 0}},
        {"worker": {"sets": {"all": {"queues": ["mail"], "replicas": 1, "max": 1, "resources": {}}}}},
        {"worker": {"sets": {"Upper": {"queues": ["portico"], "replicas": 1, "max": 1, "resources": {}}}}},
        {"worker": {"previous": [{"replicas": 1}]}},
        {"images": {"api": {"repository": "x", "tag": "latest"}}},
        {"database": {"password": "hunter2"}},
        {"storage": {"url": "https://me:secret@s3.example.com"}},
        {"temporal": {"address": "temporal"}},
        {"temporal": {"peers": [{"podSelectors": {}}]}},
        {"api": {"resources": {"limits": {"memory": "plenty"}}}},
        {"spread": {"node": "Always"}},
    ],
    ids=json.dumps,
)
def test_is_refused(values: dict[str, Any]) -> None:
    assert _problems(values)


def test_the_chart_has_the_program_s_version() -> None:
    project = (CHECKOUT / "pyproject.toml").read_text()
    for chart in ("portico", "portico-node"):
        told = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())["appVersion"]
        assert f'version = "{told}"' in project


def test_versions_of_other_makers_are_compose_s() -> None:
    compose = (CHECKOUT / "compose.yaml").read_text()
    for given in _values("portico")["thirdParty"].values():
        assert f"image: {given['repository']}:${{" in compose
        assert f":-{given['tag']}}}" in compose


def test_every_image_that_the_chart_names_is_built_and_pushed_by_the_guide() -> None:
    told = (CHECKOUT / "docs" / "kubernetes.md").read_text()
    images = {one["repository"] for one in _values("portico")["images"].values()}
    builds = re.findall(
        r"^docker build -f (\S+)(?: --target (\S+))? +-t \$REGISTRY/(\S+):\$VERSION", told, re.M
    )
    assert {name for _, _, name in builds} == images
    for file, target, _ in builds:
        stages = re.findall(r"^FROM \S+ AS (\S+)", (CHECKOUT / file).read_text(), re.M)
        assert not target or target in stages, (file, target)
    (pushed,) = re.findall(
        r"^for part in (.+); do docker push \$REGISTRY/portico-\$part:\$VERSION", told, re.M
    )
    assert {f"portico-{part}" for part in pushed.split()} == images
