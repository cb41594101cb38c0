from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.errors import Misconfigured
from portico.settings.toml_file import put_table_first, set_keys, with_first_table, with_keys

PARTS = ("channels", "telegram", "default")
TABLE = ".".join(PARTS)


def test_a_table_is_added_behind_everything_else() -> None:
    before = '# mine\nport = 9000  # taken\n\n[log]\nlevel = "debug"\n'
    after = with_keys(before, PARTS, {"token": "secret:t", "bot_username": "b"})
    assert after == before + f'\n[{TABLE}]\ntoken = "secret:t"\nbot_username = "b"\n'


def test_an_empty_file_becomes_the_table() -> None:
    assert with_keys("", PARTS, {"token": "x"}) == f'[{TABLE}]\ntoken = "x"\n'


def test_a_table_that_is_there_keeps_its_comments_and_other_keys() -> None:
    before = f'[{TABLE}] # the bot\n# from BotFather\ntoken = "old"  # here\nburst = 3\n\n[log]\n'
    after = with_keys(before, PARTS, {"token": "new", "bot_username": "b"})
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
        f'[log]\r\nlevel = "info"\r\n\r\n[{TABLE}] # bot\r\ntoken = "old"\r\n',
        '[ channels . telegram . "default" ]\ntoken = "old" # here\n[[more]]\na = 1\n[[more]]\na = 2\n',
    ],
)
def test_every_way_of_writing_a_table_is_edited(tmp_path: Path, text: str) -> None:
    path = tmp_path / "portico.toml"
    path.write_bytes(text.encode())
    wanted = tomllib.loads(text)
    wanted["channels"]["telegram"]["default"]["token"] = "secret:t"
    set_keys(path, PARTS, {"token": "secret:t"})
    after = path.read_bytes().decode()
    assert tomllib.loads(after) == wanted
    assert after.count("\r\n") == text.count("\r\n")
    assert [line for line in text.split("\n") if "#" in line and "old" not in line] == [
        line for line in after.split("\n") if "#" in line and "secret" not in line
    ]


def test_a_file_that_is_not_toml_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "portico.toml"
    path.write_text("port = = 1\n")
    with pytest.raises(Misconfigured, match="is not TOML"):
        set_keys(path, PARTS, {"token": "secret:t"})
    assert path.read_text() == "port = = 1\n"


def test_a_key_that_is_no_table_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "portico.toml"
    path.write_text('channels = "none"\n')
    with pytest.raises(Misconfigured, match='token = "secret:t"'):
        set_keys(path, PARTS, {"token": "secret:t"})
    assert path.read_text() == 'channels = "none"\n'


@pytest.mark.parametrize("text", ["llm = 3\n", "llm.routes = [1]\n"])
def test_a_wrong_value_elsewhere_is_no_crash(tmp_path: Path, text: str) -> None:
    path = tmp_path / "portico.toml"
    path.write_text(text)
    set_keys(path, PARTS, {"token": "secret:t"})
    assert path.read_text().startswith(text)
    path.write_text(text)
    with pytest.raises(Misconfigured, match="add this by hand"):
        put_table_first(path, ("llm", "routes"), "new", {"model": "m"})
    assert path.read_text() == text


def test_a_file_with_a_byte_order_mark_is_refused_as_at_start_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "portico.toml"
    path.write_bytes("\ufeffport = 1\n".encode())
    with pytest.raises(Misconfigured, match="is not TOML"):
        set_keys(path, PARTS, {"token": "secret:t"})
    assert path.read_bytes() == "\ufeffport = 1\n".encode()


def test_a_table_is_added_in_a_parent_that_is_written_inline() -> None:
    after = with_keys("[channels]\ntelegram = {}  # none yet\n", PARTS, {"token": "x"})
    assert after == '[channels]\ntelegram = {default = {token = "x"}}  # none yet\n'


@pytest.mark.parametrize(
    "text",
    [
        "port = 1\r\n",
        "port = 1\r\n# end",
        '# top\r\n\r\n# about x\r\n[llm.routes.x] # c\r\nmodel = "m"\r\n',
        '[llm.routes.new]\r\nmodel = """\r\nold"""\r\n\r\n[llm.routes.x]\r\nmodel = "m"\r\n',
    ],
)
def test_new_lines_end_as_the_others_do(text: str) -> None:
    for after in (
        with_keys(text, PARTS, {"token": "x"}),
        with_first_table(text, ("llm", "routes"), "new", {"model": "v"}),
    ):
        assert after.count("\n") == after.count("\r\n") > text.count("\n") - 2


NAMES = st.text(alphabet="abc-_1", min_size=1, max_size=5)
WORDS = st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


BLOCKS = st.sampled_from(
    (
        "# a comment",
        "",
        "  # indented  ",
        '[log] # level\nlevel = "debug"   # loud\nkinds = [\n  "a", # one\n  "b",\n]',
        "[server]\nlimits = { small = 1, large.x = 2 }  # inline\ndotted.key = true",
        "[[hooks]]\nname = 'first' # 1\n\n[[hooks]]\nname = 'second'",
        '[channels.hook.x]\nsecret = "s" # hook',
        '[ llm . "routes" . x ] # route\nmodel = """\n[llm.routes.not]\n"""',
        "[llm.routes.y]\nmodel = 'm'",
        '[channels.telegram.default] # bot\n# from BotFather\ntoken = "old"\nburst = 3 # more',
    )
)


@given(
    st.lists(BLOCKS, unique_by=lambda block: block or object(), max_size=8), st.sampled_from(("\n", "\r\n"))
)
def test_every_other_line_stays_in_every_layout(blocks: list[str], newline: str) -> None:
    text = "".join(f"{block}\n" for block in ("# top", "port = 9 # here", *blocks)).replace("\n", newline)
    wanted = tomllib.loads(text)
    wanted.setdefault("channels", {}).setdefault("telegram", {}).setdefault("default", {})["token"] = "new"
    added = with_keys(text, PARTS, {"token": "new"})
    assert tomllib.loads(added) == wanted
    routed = with_first_table(text, ("llm", "routes"), "new", {"model": "v"})
    assert next(iter(tomllib.loads(routed)["llm"]["routes"].items())) == ("new", {"model": "v"})
    for after in (added, routed):
        assert ("\r" in after) == (newline == "\r\n")
        lines = iter(after.split(newline))
        assert all(line in lines for line in text.split(newline)[:-1] if line != 'token = "old"'), after


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, WORDS, max_size=3), max_size=4), NAMES, WORDS)
def test_a_table_that_is_put_first_changes_nothing_else(
    tables: dict[str, dict[str, str]], name: str, value: str
) -> None:
    text = "# top\nport = 1 # one\n"
    for other, keys in tables.items():
        lines = "".join(
            f"{key} = {json.dumps(one, ensure_ascii=False)}  # {key}\n" for key, one in keys.items()
        )
        text += f"\n# about {other}\n[llm.routes.{other}]\n{lines}"
    after = with_first_table(text, ("llm", "routes"), name, {"model": value})
    routes = tomllib.loads(after)["llm"]["routes"]
    assert list(routes.items()) == [
        (name, {"model": value}),
        *((k, v) for k, v in tables.items() if k != name),
    ]
    for other in tables:
        if other != name:
            assert f"# about {other}\n[llm.routes.{other}]" in after
    assert after.startswith("# top\nport = 1 # one\n")


def test_the_file_belongs_to_its_owner_alone_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "portico.toml"
    set_keys(path, PARTS, {"token": "a"})
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    set_keys(path, PARTS, {"token": "b"})
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["portico.toml"]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=40))
def test_any_value_comes_back_as_it_was(value: str) -> None:
    text = with_keys("port = 1\n", PARTS, {"token": value})
    assert tomllib.loads(with_keys(text, PARTS, {"token": "z"}))["channels"]["telegram"]["default"] == {
        "token": "z"
    }
    assert tomllib.loads(text)["channels"]["telegram"]["default"] == {"token": value}


def test_where_nothing_can_be_written_the_lines_are_shown() -> None:
    path = Path("/proc/portico.toml")
    with pytest.raises(
        Misconfigured, match=r'cannot be written here [^\n]*\n\[channels.telegram.default\]\ntoken = "s"'
    ):
        set_keys(path, PARTS, {"token": "s"})
