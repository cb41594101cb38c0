from __future__ import annotations

import os
from pathlib import Path

import pytest
import structlog
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from portico.egress.proxy import HostPattern
from portico.errors import Misconfigured
from portico.settings.home import Home
from portico.settings.load import load_settings
from portico.settings.settings import Settings
from portico.settings.table import Table
from portico.settings.tools import ToolSettings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PORTICO_"):
            monkeypatch.delenv(name)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.make()
    return home


def loaded(home: Home, text: str) -> Settings:
    home.settings.write_text(text)
    return load_settings(home)


# --- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("prot = 1", "prot: unknown key"),
        ("[limits]\nbody = 1", "limits.body: unknown key"),
        ("port = 70000", "port: "),
        ("port = 'high'", "port: "),
        ("host = '0.0.0.0'", "without TLS is refused"),
        ("[tls]\nkey = 'k.pem'", "certificate and key go together"),
        ("durability = 'none'", "durability: "),
        ("[llm.routes.x]\nkind = 'magic'\nmodel = 'm'", "llm.routes.x.kind: "),
        ("port = ", "is not TOML"),
        ("a = 1\nb = 2", "and 1 more"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_it(home: Home, text: str, line: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        loaded(home, text)
    assert line in caught.value.message
    assert str(home.settings) in caught.value.message
    assert "\n" not in caught.value.message.replace("(at line", "")


def test_a_secret_is_not_repeated_in_a_message(home: Home) -> None:
    with pytest.raises(Misconfigured) as caught:
        loaded(home, "[policy]\ntokn = 'hush-hush'")
    assert "hush-hush" not in str(caught.value)


def test_a_file_that_is_named_must_be_there(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Misconfigured, match="does not exist"):
        load_settings(home, home.root / "other.toml")
    monkeypatch.setenv("PORTICO_CONFIG", str(home.root))
    with pytest.raises(Misconfigured, match="cannot be read"):
        load_settings(home)


def test_bytes_that_are_no_text_are_said(home: Home) -> None:
    home.settings.write_bytes(b"\xff\xfe")
    with pytest.raises(Misconfigured, match="is not TOML"):
        load_settings(home)


def test_a_mistake_in_a_variable_names_the_variable(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTICO_LIMITS__BODY_BYTES", "many")
    with pytest.raises(Misconfigured, match=r"PORTICO_LIMITS__BODY_BYTES: limits\.body_bytes"):
        load_settings(home)


def test_a_variable_cannot_go_through_a_value(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTICO_LIMITS__BODY_BYTES", "2048")
    with pytest.raises(Misconfigured, match="limits is not a table"):
        loaded(home, "limits = 3")


# --- what works ---------------------------------------------------------------------------------------


def test_no_file_means_the_defaults(home: Home) -> None:
    assert load_settings(home) == Settings()


@pytest.mark.parametrize(
    "written", ["portico-tools, portico-delivery", '["portico-tools", "portico-delivery"]']
)
def test_a_variable_may_hold_a_list(home: Home, monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("PORTICO_TEMPORAL__QUEUES", written)
    assert load_settings(home).temporal.queues == ("portico-tools", "portico-delivery")


def test_a_list_that_cannot_be_read_names_its_variable(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTICO_TEMPORAL__QUEUES", '["portico-tools"')
    with pytest.raises(Misconfigured, match="PORTICO_TEMPORAL__QUEUES"):
        load_settings(home)


def test_a_variable_wins_over_the_file(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTICO_LIMITS__BODY_BYTES", "2048")
    monkeypatch.setenv("PORTICO_CHANNELS__TELEGRAM__DEFAULT__TOKEN", "env:TOKEN")
    monkeypatch.setenv("PORTICO_LOCAL_ONLY", "false")
    settings = loaded(
        home, "[limits]\nbody_bytes = 4096\ninbox_days = 3\n[channels.telegram.default]\nadmit = 'anyone'"
    )
    assert (settings.limits.body_bytes, settings.limits.inbox_days, settings.local_only) == (2048, 3, False)
    assert settings.channels["telegram"]["default"] == {"admit": "anyone", "token": "env:TOKEN"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORTICO_SERVICE_HOST", "10.0.0.1"),
        ("PORTICO_PORT", "tcp://10.0.0.1:8080"),
        ("PORTICO_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("PORTICO_LIMITS__NO_SUCH", "1"),
        ("PORTICO_", "1"),
    ],
)
def test_an_unknown_variable_is_a_warning(
    home: Home, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with structlog.testing.capture_logs() as logs:
        assert load_settings(home) == Settings()
    assert [(entry["event"], entry["name"]) for entry in logs] == [("settings.unknown_variable", name)]


def test_reserved_names_are_no_settings(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "MASTER_KEY", "URL", "API_KEY", "YES", "FUNCTIONS", "TEST_X", "SANDBOX_KEY"):
        monkeypatch.setenv(f"PORTICO_{name}", "x")
    with structlog.testing.capture_logs() as logs:
        assert load_settings(home) == Settings()
    assert logs == []


def test_the_sandboxs_table_can_be_set_though_its_own_names_are_reserved(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTICO_SANDBOX__URL", "http://127.0.0.1:9")
    assert load_settings(home).sandbox.url == "http://127.0.0.1:9"


def test_another_address_is_allowed_with_tls_or_when_it_is_meant(home: Home) -> None:
    assert loaded(home, "host = '0.0.0.0'\ninsecure = true").host == "0.0.0.0"
    assert loaded(home, "host = '0.0.0.0'\n[tls]\ncertificate = 'c.pem'\nkey = 'k.pem'").host == "0.0.0.0"


def test_every_setting_says_what_it_is() -> None:
    undescribed = [name for name, field in _fields(Settings) if not field.description]
    assert undescribed == []


def _fields(table: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    found: list[tuple[str, FieldInfo]] = []
    for name, field in table.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Table):
            found += _fields(field.annotation)
        else:
            found.append((name, field))
    return found


@pytest.mark.parametrize("key", ["hosts", "sites", "inner_hosts"])
@pytest.mark.parametrize(
    "wrong", ["http://example.com", "a b", "example.com/path", "user@example.com", "a:b", ""]
)
def test_a_host_is_written_as_a_host(key: str, wrong: str) -> None:
    with pytest.raises(ValidationError, match="no host"):
        ToolSettings.model_validate({key: [wrong]})


def test_hosts_may_be_given_in_every_form_that_the_proxy_knows() -> None:
    hosts = ("example.com", "*.example.com", "nas:8000", "*", "*:8080", "10.0.0.5:80", "[fd00::1]:443")
    assert ToolSettings.model_validate({"hosts": " ".join(hosts)}).hosts == hosts
    for host in hosts:
        HostPattern.of(host)
    with pytest.raises(ValidationError, match="exactly"):
        ToolSettings.model_validate({"inner_hosts": ["*.lan"]})
