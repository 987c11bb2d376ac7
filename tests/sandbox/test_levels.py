"""The weaker levels, the choice between them, and the parts they share."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bitparity.errors import SandboxError
from bitparity.sandbox import interpreter, levels, seccomp
from bitparity.sandbox.bubblewrap import Lifeline
from bitparity.sandbox.container import Container
from bitparity.sandbox.contract import Ended, Limits, Sandbox
from bitparity.sandbox.landlock import Landlock, Unsafe
from bitparity.sandbox.landlock import _use as landlock_use
from bitparity.sandbox.levels import open_sandbox
from bitparity.sandbox.tree import Tree
from bitparity.sandbox.warm import WarmWorker
from tests.sandbox.conftest import wait_until

QUICK = Limits(cpu_s=0.5, wall_s=5, memory_mb=192, output_bytes=1 << 16, file_mb=8, processes=24)


def run(sandbox: Sandbox, code: str, stdin: bytes = b"", limits: Limits = QUICK) -> Ended:
    return sandbox.run({"main.py": code.encode()}, [sandbox.python, "-S", "main.py"], stdin, limits)


def test_landlock_runs_honest_programs(landlock: Sandbox) -> None:
    code = "import sys\nopen('out', 'w').write('x')\nprint(sum(map(int, sys.stdin)), open('out').read())"
    assert run(landlock, code, b"1\n2\n").stdout == b"3 x\n"


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("while True: pass", "time_limit"),
        ("held = []\nwhile True: held.append(bytearray(1 << 20))", "memory_limit"),
        ("while True: print('x' * 1000)", "output_limit"),
        ("while True: open(str(id(object())) + 'x', 'ab').write(b'x' * 100000)", "output_limit"),
        ("import ctypes\nctypes.string_at(0)", "runtime_error"),
        ("import os\nos.kill(os.getpid(), 9)", "runtime_error"),
    ],
)
def test_landlock_keeps_the_limits(landlock: Sandbox, code: str, end: str) -> None:
    ended = run(landlock, code, limits=Limits(cpu_s=2 if "open" in code else 0.5, memory_mb=192, file_mb=1))
    assert ended.end in ({"output_limit", "runtime_error"} if "open" in code else {end})


def test_landlock_reaches_nothing(landlock: Sandbox, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("mine")
    own.chmod(0o666)
    tmp_path.chmod(0o777)
    with socket.socket() as inet, socket.socket(socket.AF_UNIX) as abstract:
        inet.bind(("127.0.0.1", 0))
        abstract.bind("\0bitparity-landlock")
        inet.listen()
        abstract.listen()
        code = f"""
import json, os, socket, sys
own, port, parent = {str(own)!r}, {inet.getsockname()[1]}, {os.getpid()}
reached = []
def attempt(name, action):
    try: action()
    except OSError: return
    reached.append(name)
attempt("read", lambda: open(own).read())
attempt("write", lambda: open(own, "w"))
attempt("truncate", lambda: os.truncate(own, 0))
attempt("cut while reading", lambda: os.open(own, os.O_RDONLY | os.O_TRUNC))
attempt("chmod", lambda: os.chmod(own, 0o600))
attempt("times", lambda: os.utime(own))
attempt("unlink", lambda: os.unlink(own))
attempt("link", lambda: os.link(own, "here"))
attempt("list", lambda: os.listdir({str(tmp_path)!r}))
attempt("home", lambda: os.listdir({str(Path.home())!r}))
attempt("processes", lambda: os.listdir("/proc"))
attempt("environment", lambda: open(f"/proc/{{parent}}/environ").read())
attempt("shared memory", lambda: os.listdir("/dev/shm"))
attempt("interpreter", lambda: open(json.__file__, "a"))
attempt("interpreter's rights", lambda: os.chmod(json.__file__, 0o777))
attempt("new file", lambda: open(os.path.join(os.path.dirname(json.__file__), "evil.py"), "w"))
attempt("inet", lambda: socket.create_connection(("127.0.0.1", port), 1))
attempt("abstract", lambda: socket.socket(socket.AF_UNIX).connect("\\0bitparity-landlock"))
for pid in (parent, os.getppid(), -1, 1):
    attempt(f"signal {{pid}}", lambda: os.kill(pid, 0))
attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, parent, 19))
attempt("processors", lambda: os.sched_setaffinity(parent, {{0}}))
for descriptor in range(3, 256):
    attempt(f"descriptor {{descriptor}}", lambda: os.fstat(descriptor))
print(json.dumps(reached))
"""
        ended = run(landlock, code)
    assert ended.end == "exit", ended
    assert json.loads(ended.stdout) == []
    assert own.read_text() == "mine"


@pytest.mark.parametrize("level", [Landlock, Unsafe])
def test_no_process_is_left_without_namespaces(level: type[Landlock], request: pytest.FixtureRequest) -> None:
    if level is Landlock:
        request.getfixturevalue("landlock")
    token = f"left-{os.getpid()}-{level.level}"
    code = f"""
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for descriptor in range(3): os.close(descriptor)
        os.execv(sys.executable, [sys.executable, "-S", "-c", "import time; time.sleep(60)", {token!r}])
    os._exit(0)
os.wait()
"""
    with level() as sandbox:
        assert run(sandbox, code).end == "exit"
    assert wait_until(lambda: not alive(token), 1)


@pytest.mark.parametrize("name", ["bubblewrap", "landlock"])
def test_programs_end_when_their_harness_is_killed(name: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("landlock" if name == "landlock" else "box")
    token = f"orphan-{os.getpid()}-{name}"
    code = f"""
import sys
from bitparity.sandbox.bubblewrap import Bubblewrap
from bitparity.sandbox.landlock import Landlock
box = {{"landlock": Landlock, "bubblewrap": Bubblewrap}}[{name!r}]()
box.run({{}}, [box.python, "-S", "-c", "import time; time.sleep(60)", {token!r}])
"""
    # killed as soon as anything of the run is there, and once it is under way
    for delay in (0.0, 0.3):
        harness = subprocess.Popen([sys.executable, "-c", code])
        try:
            assert wait_until(lambda: bool(alive(token)), 20)
            time.sleep(delay)
        finally:
            harness.kill()
            harness.wait()
        assert wait_until(lambda: not alive(token)), alive(token)


def test_bubblewrap_between_its_namespaces_and_its_program_ends_with_its_harness(box: Sandbox) -> None:
    """Killed there, bubblewrap alone leaves the process inside waiting for ever; `--userns-block-fd` holds it there."""
    token = f"gap-{os.getpid()}"
    code = f"""
import os, subprocess, sys, time
from bitparity.sandbox.bubblewrap import Lifeline
lifeline = Lifeline()
blocked, _block = os.pipe()
told, tell = os.pipe()
options = ["--unshare-all", "--unshare-user", "--as-pid-1", "--new-session", "--die-with-parent", "--ro-bind", "/", "/"]
options += ["--userns-block-fd", str(blocked), "--info-fd", str(tell), "--", "/bin/sleep", "60", {token!r}]
subprocess.Popen(["bwrap", *options], pass_fds=[blocked, tell], process_group=lifeline.group)
assert "child-pid" in os.read(told, 4096).decode()
print("made", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as harness:
        assert harness.stdout is not None
        assert harness.stdout.readline() == b"made\n"
        assert len(alive(token)) == 2  # outside and inside
        harness.kill()
    assert wait_until(lambda: not alive(token)), alive(token)


def test_a_lifeline_ends_with_its_object() -> None:
    lifeline = Lifeline()
    with subprocess.Popen(["/bin/sleep", "60"], process_group=lifeline.group) as sleeper:
        del lifeline
        assert sleeper.wait(20) == -signal.SIGKILL


def test_a_warm_worker_ends_when_its_harness_is_killed(box: Sandbox) -> None:
    code = """
from bitparity.sandbox.warm import WarmWorker
from bitparity.sandbox.bubblewrap import Bubblewrap
worker = WarmWorker(Bubblewrap())
print(worker._idle[0]._process.pid, flush=True)
worker.run({}, "import os, time\\nos.fork()\\ntime.sleep(60)")
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as harness:
        assert harness.stdout is not None
        tree = Tree(int(harness.stdout.readline()))
        # bubblewrap, the worker, the script's first process, the script and its child
        assert wait_until(lambda: len(tree.pids()) == 5, 20), tree.pids()
        pids = tree.pids()
        harness.kill()
    assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def alive(token: str) -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and folder.name != str(os.getpid()):
            try:
                command = (folder / "cmdline").read_text(errors="replace")
            except OSError:
                continue
            if token in command and "from bitparity" not in command:
                found.append(command)
    return found


def test_unsafe_runs_programs_and_says_so() -> None:
    with Unsafe() as sandbox:
        sandbox.self_test()
        assert sandbox.facts()["level"] == "unsafe"
        assert run(sandbox, "print(input())", b"x\n").stdout == b"x\n"
        assert run(sandbox, "while True: pass").end == "time_limit"
        with WarmWorker(sandbox, ["json"]) as worker:
            assert worker.run({}, "import json\nprint(json.dumps(1))").stdout == b"1\n"


class Broken(Unsafe):
    """A level that runs programs but confines nothing, as a broken sandbox would."""

    level = "broken"

    def self_test(self) -> None:
        Landlock.self_test(self)


def test_the_self_test_refuses_a_sandbox_that_does_not_hold() -> None:
    with Broken() as sandbox, pytest.raises(SandboxError, match="does not hold.*the network.*another program's socket"):
        sandbox.self_test()


def test_the_safest_level_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    class Absent(Unsafe):
        def __init__(self, python: str | None = None, readable: Sequence[Path] = ()) -> None:
            raise SandboxError("bwrap is not installed")

    monkeypatch.setattr(levels, "LEVELS", (Absent, Broken))
    with pytest.raises(SandboxError, match="apt-get install bubblewrap.*bwrap is not installed.*does not hold"):
        open_sandbox()
    with open_sandbox(unsafe=True) as sandbox:
        assert sandbox.level == "unsafe"


def test_an_absent_bubblewrap_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from bitparity.sandbox import bubblewrap

    monkeypatch.setattr(bubblewrap, "_TOOLS", "/nowhere")
    with pytest.raises(SandboxError, match="bwrap is not installed.*apt-get install bubblewrap"):
        bubblewrap.Bubblewrap()


def test_containers_need_an_engine_that_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match="no container engine"):
        Container()
    engine = tmp_path / "podman"
    engine.write_text("#!/bin/sh\nexit 1\n")
    engine.chmod(0o755)
    with pytest.raises(SandboxError, match="podman does not answer"):
        Container()


def test_containers_where_an_engine_works() -> None:
    try:
        sandbox = Container()
        sandbox.self_test()
    except SandboxError as error:
        pytest.skip(f"no container engine works here: {error}")
    with sandbox:
        assert run(sandbox, "print(input())", b"x\n").stdout == b"x\n"
        assert run(sandbox, "import sys\nsys.exit(125)").end == "runtime_error"
        assert run(sandbox, "while True: pass").end == "time_limit"


def test_an_interpreter_that_does_not_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="does not run"):
        interpreter.view(str(tmp_path / "python"))


def test_a_home_folder_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path(sys.base_prefix) / "people" / "me"))
    with pytest.raises(SandboxError, match="holds the home folder"):
        interpreter.view(sys.executable)


def test_a_user_without_a_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    assert interpreter.view(sys.executable).shown


def test_a_working_folder_below_usr_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/usr/share")
    view = interpreter.view(sys.executable)
    assert ("hide", "/usr/share") in view.steps
    assert view.steps.index(("show", "/usr")) < view.steps.index(("hide", "/usr/share"))


def test_what_lies_below_a_hidden_folder_is_covered(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    from bitparity.sandbox.bubblewrap import Bubblewrap

    monkeypatch.chdir("/usr/share")
    with Bubblewrap() as sandbox:
        ended = run(sandbox, "import os\nprint(os.listdir('/usr/share'))\nopen('/usr/share/x', 'w')")
    assert ended.stdout == b"[]\n"
    assert b"Read-only file system" in ended.stderr


def test_readable_folders_are_shown_read_only(box: Sandbox, tmp_path: Path) -> None:
    from bitparity.sandbox.bubblewrap import Bubblewrap

    shown = tmp_path / "targets"
    shown.mkdir()
    (shown / "a.txt").write_text("shown")
    for folder in (shown, *shown.parents[:3]):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(0o755)
    with Bubblewrap(readable=[shown]) as sandbox:
        code = f"print(open({str(shown / 'a.txt')!r}).read())\nopen({str(shown / 'b.txt')!r}, 'w')"
        ended = run(sandbox, code)
    assert ended.stdout == b"shown\n"
    assert b"Read-only file system" in ended.stderr


def decide(program: bytes, arch: int, number: int, first: int = 0, second: int = 0) -> int:
    """What a filter answers to one call: an interpreter of the few BPF instructions that filters use."""
    code = [struct.unpack("=HBBI", program[at : at + 8]) for at in range(0, len(program), 8)]
    data = struct.pack("=iIQ6Q", number, arch, 0, first, second, 0, 0, 0, 0)
    at = loaded = 0
    while True:
        operation, if_true, if_false, value = code[at]
        at += 1
        if operation == 0x20:
            (loaded,) = struct.unpack_from("=I", data, value)
        elif operation == 0x06:
            return int(value)
        else:
            jumps = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}
            at += if_true if jumps[operation] else if_false


ALLOWED, KILLED = 0x7FFF0000, 0x80000000


@pytest.mark.parametrize(
    ("machine", "arch", "numbers"),
    [
        (
            "x86_64",
            0xC000003E,
            {"read": 0, "ptrace": 101, "clone": 56, "socket": 41, "mount": 165, "kill": 62}
            | {"socketpair": 53, "fcntl": 72, "listen": 50},
        ),
        (
            "aarch64",
            0xC00000B7,
            {"read": 63, "ptrace": 117, "clone": 220, "socket": 198, "mount": 40, "kill": 129}
            | {"socketpair": 199, "fcntl": 25, "listen": 201},
        ),
    ],
)
def test_the_filter_of_each_architecture(machine: str, arch: int, numbers: dict[str, int]) -> None:
    program = seccomp.program(machine=machine)
    refused = 0x00050000

    def answer(name: str, first: int = 0, second: int = 0) -> int:
        return decide(program, arch, numbers[name], first, second)

    assert answer("read") == ALLOWED
    assert answer("ptrace") == answer("mount") == refused | errno.EPERM
    assert answer("clone", 17) == ALLOWED
    assert answer("clone", 17 | 0x10000000) == refused | errno.EPERM
    for flags in (0, socket.SOCK_CLOEXEC, socket.SOCK_NONBLOCK, socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK):
        assert answer("socket", socket.AF_UNIX, socket.SOCK_STREAM | flags) == ALLOWED
        for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_RAW):
            assert answer("socket", socket.AF_UNIX, kind | flags) == refused | errno.ESOCKTNOSUPPORT
            assert answer("socketpair", socket.AF_UNIX, kind | flags) == refused | errno.ESOCKTNOSUPPORT
    assert answer("socket", socket.AF_INET, socket.SOCK_STREAM) == refused | errno.EAFNOSUPPORT
    assert answer("fcntl", 0, 1031) == refused | errno.EPERM
    assert answer("fcntl", 0, 1) == answer("listen") == ALLOWED
    assert decide(seccomp.program(machine=machine, listening=False), arch, numbers["listen"]) == refused | errno.EPERM
    assert decide(program, arch, 435) == refused | errno.ENOSYS
    assert decide(program, arch, 9999) == refused | errno.ENOSYS
    assert decide(program, 0x40000003, numbers["read"]) == KILLED
    without = seccomp.program(own_pid=4242, machine=machine)
    assert decide(without, arch, numbers["kill"], 4242) == ALLOWED
    assert decide(without, arch, numbers["kill"], 4243) == refused | errno.EPERM
    assert decide(without, arch, numbers["socket"], socket.AF_UNIX) == refused | errno.EAFNOSUPPORT


@pytest.mark.parametrize(("user", "refused"), [(1000, True), (0, False)])
def test_a_process_that_cannot_be_looked_into(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, user: int, refused: bool
) -> None:
    """Of the same user it hides; root in a container may lack the right to look."""

    def hidden(*_: object) -> dict[int, int]:
        raise PermissionError

    monkeypatch.setattr("bitparity.sandbox.landlock._unnamed", hidden)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    (tmp_path / "file").write_bytes(b"x" * 8192)
    size, files = landlock_use(str(tmp_path), [os.getpid()], 1 << 20)
    assert (size == 0, files > 1) == (refused, refused)
