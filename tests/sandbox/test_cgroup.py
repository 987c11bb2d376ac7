"""Control groups: their files laid out in an ordinary folder, and a real group where one can be had."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from bitparity.sandbox import cgroup
from bitparity.sandbox.bubblewrap import Bubblewrap
from bitparity.sandbox.contract import Limits, Sandbox


def laid_out(folder: Path, controllers: str, enabled: str, processes: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.controllers").write_text(controllers)
    (folder / "cgroup.subtree_control").write_text(enabled)
    (folder / "cgroup.procs").write_text(processes)
    return folder


@pytest.mark.parametrize(
    ("controllers", "enabled", "processes", "prepared"),
    [
        ("cpu memory pids\n", "memory pids\n", "", True),
        ("cpu memory pids\n", "", f"{os.getpid()}\n", True),
        ("cpu memory pids\n", "", f"{os.getpid()}\n1\n", False),
        ("cpu\n", "cpu\n", "", False),
    ],
    ids=["divided before", "only the harness in it", "with another process", "no memory limit"],
)
def test_which_groups_can_be_divided(
    tmp_path: Path, controllers: str, enabled: str, processes: str, prepared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = laid_out(tmp_path / "own", controllers, enabled, processes)
    monkeypatch.setattr(cgroup, "_own_group", lambda: own)
    assert cgroup.delegated() == (own if prepared else None)
    if prepared and not enabled:
        assert (own / "cgroup.subtree_control").read_text() == "+memory +pids"
        assert (own / "bitparity-harness" / "cgroup.procs").read_text() == str(os.getpid())


def test_a_process_that_was_moved_finds_its_group_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = laid_out(tmp_path / "own", "memory pids\n", "memory pids\n", "")
    harness = laid_out(own / "bitparity-harness", "memory pids\n", "", "")
    monkeypatch.setattr(cgroup, "_own_group", lambda: harness)
    assert cgroup.delegated() == own


def test_limits_of_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "_EMPTY_S", 0.0)
    with cgroup.group(tmp_path, Limits(memory_mb=100, processes=5)) as made:
        assert made is not None
        assert (made / "memory.max").read_text() == str(100 << 20)
        assert (made / "pids.max").read_text() == "13"
        assert not cgroup.out_of_memory(made)
        (made / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
        assert cgroup.out_of_memory(made)


def test_without_a_group_nothing_changes(tmp_path: Path) -> None:
    with cgroup.group(None, Limits()) as made:
        assert made is None
    with cgroup.group(tmp_path / "absent", Limits()) as made:
        assert made is None
    assert cgroup.wrap(["true"], None) == ["true"]


def test_a_program_in_a_real_group(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    own = cgroup._own_group()
    if own is None or not os.access(own, os.W_OK):
        pytest.skip("this process may not make control groups")
    parent = own / f"bitparity-test-{os.getpid()}"
    parent.mkdir()
    joined: list[str] = []
    wrap = cgroup.wrap

    def wrapped(command: list[str], of: Path | None) -> list[str]:
        assert of is not None
        joined.append(str(of))
        return wrap(command, of)

    monkeypatch.setattr(cgroup, "wrap", wrapped)
    # the controllers themselves may belong to the older version here: only what every group has is asked for
    monkeypatch.setattr(cgroup, "_write", write_where_present)
    try:
        with Bubblewrap() as sandbox:
            sandbox._groups = parent
            ended = sandbox.run({}, [sandbox.python, "-S", "-c", "print(open('/proc/self/cgroup').read())"])
            assert ended.end == "exit", ended
            left = sandbox.run({}, [sandbox.python, "-S", "-c", "import os, time\nos.fork() or time.sleep(60)"])
            assert left.end == "exit"
        assert len(joined) == 2
        assert not any(Path(folder).exists() for folder in joined)
    finally:
        parent.rmdir()


def write_where_present(path: Path, text: str) -> None:
    if path.exists():
        path.write_text(text)


def test_what_is_left_in_a_group_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    own = cgroup._own_group()
    if own is None or not os.access(own, os.W_OK):
        pytest.skip("this process may not make control groups")
    monkeypatch.setattr(cgroup, "_write", write_where_present)
    with cgroup.group(own, Limits()) as made:
        assert made is not None
        process = subprocess.Popen(cgroup.wrap(["/bin/sleep", "60"], made))
        deadline = time.monotonic() + 5
        while str(process.pid) not in (made / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert process.wait(5) == -9
    assert not made.exists()
