"""Language models are fetched whole and checked, or not at all."""

from __future__ import annotations

import asyncio
import io
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from minio import Minio

from entrypoints.cli.models.language import _check
from portico.errors import BadInput, Conflict, Forbidden, Misconfigured, NotFound, PorticoError, Unavailable
from portico.llm.library import download
from portico.llm.library.pull import half_pulls, pull, wanted
from portico.llm.library.store import find, installed
from portico.settings.home import Home
from portico.settings.settings import Settings
from tests.fakes.hub import FakeHub, files_of
from tests.fakes.server import status
from tests.support import CHECKOUT, RunningStack

MODEL = "someone/tiny-onnx"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make()
    return home


@pytest.fixture
def hub(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(download, "FIRST_WAIT_S", 0.01)
    with FakeHub({MODEL: files_of(tiny_model)}) as running:
        yield running


def fetch(home: Home, place: str, *, hub: FakeHub | None = None, name: str = "", **settings: Any) -> Any:
    told = {"hub": {"url": hub.url if hub else "http://127.0.0.1:1", **settings}}
    chosen = Settings.model_validate({"models": told})

    async def run() -> Any:
        what = wanted(place, name=name, home=home, settings=chosen, secret=lambda reference: reference)
        return await pull(home, what, check=_check, progress=lambda *_: None)

    return asyncio.run(run())


def nothing_served(home: Home) -> bool:
    return not installed(home) and not list(home.language_models.glob("*"))


def changed(folder: Path, target: Path, change: Callable[[Path], object]) -> Path:
    shutil.copytree(folder, target)
    change(target)
    return target


def config(folder: Path, **decoder: Any) -> None:
    path = folder / "genai_config.json"
    content = json.loads(path.read_text())
    content["model"]["decoder"] |= decoder
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: [path.unlink() for path in folder.iterdir()], "genai_config.json, tokenizer.json, a graph"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"tokenizer\.json missing"),
        (lambda folder: (folder / "model.onnx").unlink(), "a graph .* missing"),
        (lambda folder: (folder / "model.onnx.data").unlink(), r"model\.onnx\.data is missing"),
        (lambda folder: os.truncate(folder / "model.onnx.data", 1000), "only a part of it is here"),
        (lambda folder: os.truncate(folder / "model.onnx", 500), "no ONNX file, or only a part"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), r"tokenizer\.json cannot be read"),
        (lambda folder: (folder / "tokenizer_config.json").write_text("{}"), "no chat template"),
        (lambda folder: (folder / "chat_template.jinja").write_text("{% if %}"), "chat template is broken"),
        (lambda folder: (folder / "genai_config.json").write_text("[]"), "not a JSON object"),
        (lambda folder: config(folder, num_hidden_layers=3), r"no input past_key_values\.2\.key"),
        (lambda folder: config(folder, num_key_value_heads=4), "does not fit the graph"),
        (lambda folder: config(folder, filename="../other.onnx"), "leaves the folder"),
        (lambda folder: config(folder, head_size=0), "head_size is missing"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused_by_name(
    home: Home, tiny_model: Path, tmp_path: Path, change: Callable[[Path], object], says: str
) -> None:
    folder = changed(tiny_model, tmp_path / "broken", change)

    with pytest.raises(BadInput, match=says):
        fetch(home, str(folder))
    assert nothing_served(home)
    assert not (home.pulls / "broken").exists()


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("nonsense", "is no folder here"),
        ("../no-such-folder", "is no folder here"),
        ("ftp://host/x", "is no folder here"),
        ("http://example.org/x", "from https://"),
        ("s3://", "cannot name a language model"),
    ],
)
def test_refuses_a_place_that_is_none(home: Home, place: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        fetch(home, place)


@pytest.mark.parametrize("name", ["understand", "eval_1", "A", "a/b", "..", "x" * 65])
def test_refuses_names_that_something_else_has(home: Home, tiny_model: Path, name: str) -> None:
    with pytest.raises(BadInput, match="cannot name a language model"):
        fetch(home, str(tiny_model), name=name)


@pytest.mark.parametrize(
    "path", ["../x.onnx", "/etc/passwd", "a/../../b", "a\\b", "a//b", "x\x00y", "x.partial", ""]
)
def test_refuses_a_manifest_that_leaves_its_folder(home: Home, hub: FakeHub, path: str) -> None:
    hub.manifest(MODEL, **{path: {"sha256": "0" * 64, "size": 3}})

    with pytest.raises(BadInput, match="names a file that no model has"):
        fetch(home, f"{hub.url}/web/{MODEL}")
    assert nothing_served(home) and not hub.asked[1:]


def test_refuses_a_link_that_leads_out(home: Home, tiny_model: Path, tmp_path: Path) -> None:
    folder = changed(
        tiny_model, tmp_path / "linked", lambda path: (path / "extra").symlink_to("/etc/hostname")
    )

    with pytest.raises(BadInput, match="link that leads out"):
        fetch(home, str(folder))


def test_takes_a_folder_and_records_its_checksums(home: Home, tiny_model: Path) -> None:
    model, fresh = fetch(home, str(tiny_model), name="mine")

    assert fresh and model.name == "mine"
    assert set(model.files) == {path.name for path in tiny_model.iterdir()}
    assert find(home, "mine").facts["layers"] == 2


def test_takes_the_folder_of_a_hubs_cache(home: Home, tiny_model: Path, tmp_path: Path) -> None:
    """There the files are links to blobs."""
    snapshot = tmp_path / "models--someone--tiny" / "snapshots" / "abc"
    blobs = snapshot.parents[1] / "blobs"
    snapshot.mkdir(parents=True)
    shutil.copytree(tiny_model, blobs)
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")

    model, _ = fetch(home, str(snapshot), name="cached")
    assert all(not (model.folder / "1" / "weights" / name).is_symlink() for name in model.files)


def test_fetches_from_a_hub_and_goes_on_where_the_line_broke(home: Home, hub: FakeHub) -> None:
    hub.cut = 150_000  # the weights have 390,000 bytes
    model, _ = fetch(home, MODEL, hub=hub)

    assert model.name == "tiny-onnx"
    assert [asked for path, asked in hub.asked if path == "model.onnx.data"] == [
        "",
        "bytes=150000-",
        "bytes=300000-",
    ]
    assert model.source.endswith(f"{MODEL}@0123456789abcdef0123456789abcdef01234567")


def test_a_fetch_that_broke_off_is_not_served_and_goes_on_later(home: Home, hub: FakeHub) -> None:
    hub.cut = 20_000
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1"):
        fetch(home, MODEL, hub=hub)
    assert nothing_served(home)
    assert half_pulls(home) == ["tiny-onnx"]
    with pytest.raises(NotFound):
        find(home, "tiny-onnx")

    hub.cut, before = 0, len(hub.asked)
    model, _ = fetch(home, MODEL, hub=hub)
    assert hub.asked[before][1] == "bytes=80000-"
    assert model.facts["layers"] == 2
    assert half_pulls(home) == []


def test_what_changed_at_the_hub_meanwhile_is_not_mixed(home: Home, hub: FakeHub) -> None:
    hub.cut = 20_000
    with pytest.raises(Unavailable):
        fetch(home, MODEL, hub=hub)
    hub.cut = 0
    hub.models[MODEL]["model.onnx.data"] = bytes(reversed(hub.models[MODEL]["model.onnx.data"]))
    before = len(hub.asked)
    fetch(home, MODEL, hub=hub)

    assert ("model.onnx.data", "") in hub.asked[before:]


@pytest.mark.parametrize("file", ["model.onnx.data", "genai_config.json"])
def test_refuses_what_is_not_what_the_hub_announced(home: Home, hub: FakeHub, file: str) -> None:
    """A large file has a SHA-256 there, a small one what git calls it."""
    hub.sends[file] = bytes([hub.models[MODEL][file][0] ^ 1]) + hub.models[MODEL][file][1:]

    with pytest.raises(BadInput, match=f"{file} is not what its place announced"):
        fetch(home, MODEL, hub=hub)
    assert nothing_served(home)


def test_a_web_folder_needs_a_manifest(home: Home, hub: FakeHub) -> None:
    with pytest.raises(Misconfigured, match=r"has no manifest\.json"):
        fetch(home, f"{hub.url}/web/{MODEL}")

    hub.manifest(MODEL)
    model, fresh = fetch(home, f"{hub.url}/web/{MODEL}", name="web")
    assert fresh and model.source == f"{hub.url}/web/{MODEL}/"
    assert fetch(home, f"{hub.url}/web/{MODEL}", name="web")[1] is False


def test_of_several_models_one_has_to_be_named(home: Home, hub: FakeHub, tiny_model: Path) -> None:
    hub.models["someone/both"] = {
        **files_of(tiny_model, below="cpu/int4/"),
        **files_of(tiny_model, below="cuda/fp16/"),
        "README.md": b"x",
    }
    with pytest.raises(BadInput, match="name one: someone/both/cpu/int4, someone/both/cuda/fp16"):
        fetch(home, "someone/both", hub=hub)

    model, _ = fetch(home, "someone/both/cpu/int4", hub=hub, name="both")
    assert "README.md" not in model.files


def test_the_token_goes_to_the_hub_alone(home: Home, hub: FakeHub) -> None:
    hub.token = "hf_secret"
    with pytest.raises(Misconfigured, match=r"models\.hub\.token"):
        fetch(home, MODEL, hub=hub)
    with FakeHub(hub.models) as other:
        hub.elsewhere = other.url
        with pytest.raises(Forbidden, match="not lie in the public internet"):  # nobody named that address
            fetch(home, MODEL, hub=hub, token="hf_secret")
        assert not other.asked


def test_says_what_is_not_there(home: Home, hub: FakeHub) -> None:
    with pytest.raises(NotFound, match="someone/else"):
        fetch(home, "someone/else", hub=hub)
    hub.script("file", status(503), times=20)
    with pytest.raises(Unavailable, match="it answered 503"):
        fetch(home, MODEL, hub=hub)


def test_the_version_before_stays_until_the_new_one_is_whole(
    home: Home, hub: FakeHub, tiny_model: Path
) -> None:
    before, _ = fetch(home, str(tiny_model), name="tiny-onnx")
    hub.models[MODEL]["model.onnx"] = hub.models[MODEL]["model.onnx"][:600]
    with pytest.raises(BadInput):
        fetch(home, MODEL, hub=hub)

    assert find(home, "tiny-onnx").source == before.source


def test_two_commands_do_not_fetch_the_same_model(home: Home, hub: FakeHub) -> None:
    home.pulls.mkdir()
    script = (
        "import fcntl,sys,time;f=open(sys.argv[1],'w');fcntl.flock(f,2);print(1,flush=True);time.sleep(60)"
    )
    lock = home.pulls / "tiny-onnx.lock"
    other = subprocess.Popen([sys.executable, "-c", script, str(lock)], stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline()
    try:
        with pytest.raises(Conflict, match="by another command"):
            fetch(home, MODEL, hub=hub)
    finally:
        other.kill()
        other.wait()
        other.stdout.close()


def test_a_full_disk_is_said_and_cleaned_up(home: Home, tiny_model: Path) -> None:
    """The kernel refuses every file over 100,000 bytes, as it refuses all on a full disk."""
    command = [sys.executable, "-m", "entrypoints.cli.main", "models", "pull", str(tiny_model)]
    done = subprocess.run(
        command, cwd=CHECKOUT, env={**os.environ, "PORTICO_HOME": str(home.root)}, capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)), check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert "cannot be written: File too large; what was fetched of it is removed" in done.stderr
    assert not (home.pulls / "tiny").exists() and nothing_served(home)


def test_a_model_that_the_disk_cannot_hold_is_not_begun(home: Home, hub: FakeHub) -> None:
    hub.manifest(MODEL, **{"huge.bin": {"sha256": "0" * 64, "size": 1 << 60}})
    with pytest.raises(PorticoError, match=r"needs \d+ MiB more, .* has \d+ MiB free"):
        fetch(home, f"{hub.url}/web/{MODEL}")

    assert [path for path, _ in hub.asked] == ["manifest.json"]


@pytest.mark.parametrize("with_manifest", [False, True])
def test_fetches_from_s3(
    home: Home, inner_stack: RunningStack, tiny_model: Path, with_manifest: bool
) -> None:
    keys = inner_stack.credentials()
    address, bucket = inner_stack.address("s3"), f"models-{int(with_manifest)}"
    client = Minio(address, access_key=keys["s3_access_key"], secret_key=keys["s3_secret_key"], secure=False)
    client.make_bucket(bucket)
    files = files_of(tiny_model)
    if with_manifest:
        server = FakeHub({MODEL: dict(files)})
        server.manifest(MODEL)
        files = server.models[MODEL]
    for name, content in files.items():
        client.put_object(bucket, f"some/tiny é/{name}", io.BytesIO(content), len(content))
    settings: dict[str, Any] = {
        "s3_url": f"http://{address}", "s3_access_key": keys["s3_access_key"],
        "s3_secret_key": keys["s3_secret_key"],
    }  # fmt: skip

    model, _ = fetch(home, f"s3://{bucket}/some/tiny é", name="from-s3", **settings)
    assert set(model.files) == {path.name for path in tiny_model.iterdir()}
    with pytest.raises(NotFound):
        fetch(home, f"s3://{bucket}/nothing", name="nothing", **settings)
