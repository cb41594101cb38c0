"""The service as an ordinary user, and where sandboxes cannot be set apart."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2b_code_interpreter import Sandbox

from operations.setup.binaries import RUNSC, cache_directory
from sandbox.isolation import FORBIDDEN, IsolationUnavailable, _advice
from tests.sandbox.conftest import Service, start_service, stop_service

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
UID = 10_001
BECOME = (
    f"setpriv --reuid {UID} --regid {UID} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all"
)
# In mounts of its own: what lies in root's home (the interpreter, say) is shown with a door that others may open.
SHOWN = """mount -t tmpfs tmpfs {room} && mkdir -m 755 {room}/up && mkdir {room}/work {room}/top &&
mount -t overlay overlay -o lowerdir=/root,upperdir={room}/up,workdir={room}/work /root && {more} "$@" """
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a service as somebody else")


def as_somebody(folder: Path, more: str) -> list[str]:
    """A command before a command, and a folder that is theirs."""
    os.chown(folder, UID, UID)
    for above in folder.parents[: len(folder.parents) - 2]:  # pytest's are 0700
        if not above.stat().st_mode & stat.S_IXOTH:
            above.chmod(above.stat().st_mode | stat.S_IXOTH)
    room = folder / "room"
    room.mkdir()
    script = SHOWN.format(room=room, more=more.format(room=room))
    return ["unshare", "--mount", "sh", "-c", script, "sh"]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    if not RUNSC.path.exists():
        pytest.skip(
            "runsc is not built: `operations/setup/run.sh sandbox` builds it from infra/binaries/runsc"
        )
    folder = tmp_path_factory.mktemp("unprivileged")
    image = ("--image-dir", str(cache_directory() / "sandbox"))
    running = start_service(folder, *image, through=as_somebody(folder, f"exec {BECOME}"))
    yield running
    stop_service(running)


@needs_root
def test_the_service_works_as_an_ordinary_user(theirs: Service) -> None:
    status = Path(f"/proc/{theirs.process.pid}/status").read_text()
    assert f"Uid:\t{UID}" in status
    assert "CapEff:\t0000000000000000" in status

    sandbox = Sandbox.create(**theirs.options)
    assert sandbox.run_code("import os; os.getuid(), 6 * 7").text == "(1000, 42)"
    assert sandbox.commands.run("echo $((6 * 7))").stdout == "42\n"
    sandbox.run_code("kept = 1")
    sandbox.pause()
    again = Sandbox.connect(sandbox.sandbox_id, **theirs.options)
    assert again.run_code("kept").text == "1"
    with pytest.raises(Exception, match=r"killed|not found|peer closed|EOF"):
        again.run_code("held = []\nwhile True: held.append(b'x' * 50_000_000)", timeout=30)
    assert not again.is_running()


@needs_root
def test_without_user_namespaces_the_service_ends_with_the_reason(tmp_path: Path) -> None:
    if not RUNSC.path.exists():
        pytest.skip(
            "runsc is not built: `operations/setup/run.sh sandbox` builds it from infra/binaries/runsc"
        )
    forbids = (
        "mount --rbind / {room}/top && exec chroot {room}/top " + BECOME
    )  # the kernel makes none in a chroot
    with pytest.raises(
        AssertionError, match=r"no sandbox can be set apart here: unshare.*not permitted\. .*(chroot|seccomp)"
    ):
        start_service(
            tmp_path,
            "--image-dir",
            str(cache_directory() / "sandbox"),
            through=as_somebody(tmp_path, forbids),
        )


@pytest.mark.parametrize("name,said,command", FORBIDDEN)
def test_the_fix_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str, command: str
) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(f"{said}\n")
    monkeypatch.setattr(os, "geteuid", lambda: UID)

    assert f"sudo sysctl {command}" in _advice("operation not permitted", tmp_path)


def test_a_program_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)

    assert "util-linux" in _advice("no such file")
    assert issubclass(IsolationUnavailable, Exception)
