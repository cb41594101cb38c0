"""What a shipped intent hands to a tool is what the tool takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from activities.functions.script import script
from activities.understand import fill_slots
from operations.setup.binaries import CHECKOUT
from portico.tool import spec_of

INTENT = CHECKOUT / "triton_models" / "understand" / "intents" / "run_code.yaml"


@pytest.mark.parametrize(
    ("said", "parameters"),
    [
        ("run print('hello')", {"code": "print('hello')"}),
        ("please execute `math.sqrt(2)`", {"code": "math.sqrt(2)"}),
        ("python: import math; print(math.pi)", {"code": "import math; print(math.pi)"}),
        ("运行：print(1)", {"code": "print(1)"}),
        ("what does this do?\n```python\nx = 1\nx + 1\n```", {"language": "python", "code": "x = 1\nx + 1"}),
        ("run ```bash\nls -la\n```", {"language": "bash", "code": "ls -la"}),
        ("```\n6 * 7\n```", {"code": "6 * 7"}),
        ("run this code", {}),
        ("start a jupyter notebook", {}),
    ],
)
def test_code_is_found_in_what_is_said(said: str, parameters: dict[str, str]) -> None:
    action = yaml.safe_load(Path(INTENT).read_text())["action"]
    assert action["tool"] == spec_of(script).name
    found = fill_slots(action["slots"], said)
    assert found == parameters
    if "code" in found:
        spec_of(script).validate(found)
