from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoints.cli.settings_file import with_table, write_table
from portico.errors import Misconfigured

TABLE = "channels.telegram.default"


def test_a_table_is_added_behind_everything_else() -> None:
    before = '# mine\nport = 9000  # taken\n\n[log]\nlevel = "debug"\n'
    after = with_table(before, TABLE, {"token": "secret:t", "bot_username": "b"})
    assert after == before + f'\n[{TABLE}]\ntoken = "secret:t"\nbot_username = "b"\n'


def test_an_empty_file_becomes_the_table() -> None:
    assert with_table("", TABLE, {"token": "x"}) == f'[{TABLE}]\ntoken = "x"\n'


def test_a_table_that_is_there_keeps_its_comments_and_other_keys() -> None:
    before = f'[{TABLE}] # the bot\n# from BotFather\ntoken = "old"  # here\nburst = 3\n\n[log]\n'
    after = with_table(before, TABLE, {"token": "new", "bot_username": "b"})
    assert "# the bot" in after
    assert 'token = "new"  # here' in after
    assert tomllib.loads(after)["channels"]["telegram"]["default"] == {
        "token": "new",
        "bot_username": "b",
        "burst": 3,
    }
    assert after.endswith("\n[log]\n")


@pytest.mark.parametrize(
    "text",
    [
        'channels = {telegram = {default = {token = "old"}}}\n',
        'channels.telegram.default.token = "old"\n',
        f'[{TABLE}]\ntoken = """\nold\n"""\n',
        "port = = 1\n",
    ],
)
def test_what_cannot_be_changed_safely_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "portico.toml"
    path.write_text(text)
    with pytest.raises(Misconfigured, match='token = "secret:t"'):
        write_table(path, TABLE, {"token": "secret:t"})
    assert path.read_text() == text


def test_the_file_belongs_to_its_owner_alone_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "portico.toml"
    write_table(path, TABLE, {"token": "a"})
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    write_table(path, TABLE, {"token": "b"})
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["portico.toml"]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=40))
def test_any_value_comes_back_as_it_was(value: str) -> None:
    text = with_table("port = 1\n", TABLE, {"token": value})
    assert tomllib.loads(with_table(text, TABLE, {"token": "z"}))["channels"]["telegram"]["default"] == {
        "token": "z"
    }
    assert tomllib.loads(text)["channels"]["telegram"]["default"] == {"token": value}


def test_where_nothing_can_be_written_the_lines_are_told(tmp_path: Path) -> None:
    path = tmp_path / "read-only" / "portico.toml"
    with pytest.raises(
        Misconfigured, match=r'cannot be written here .*\[channels.telegram.default\]: token = "s"'
    ):
        write_table(path, TABLE, {"token": "s"})
