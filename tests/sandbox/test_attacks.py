"""Hostile programs, each in a fresh sandbox and in the warm worker; `attack` checks what they leave behind."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bitparity.sandbox.contract import Ended, Limits, Sandbox
from bitparity.sandbox.warm import WarmWorker
from tests.sandbox.conftest import Attack

PRELUDE = """
import ctypes, errno, json, mmap, os, pathlib, platform, resource, signal, socket, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
reached = []
def attempt(name, action):
    try:
        action()
    except BaseException:
        return
    reached.append(name)
def put(path, data):
    os.write(os.open(path, os.O_WRONLY), data)
def call(*arguments):
    result = libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result
"""
REPORT = "\nprint(json.dumps(reached))\n"
# numbers of x86_64 and aarch64
NUMBERS = """
X86 = platform.machine() == "x86_64"
def number(x86, arm):
    return x86 if X86 else arm
"""


def reached(ended: Ended) -> list[str]:
    assert ended.end == "exit", (ended.end, ended.status, ended.stderr)
    return list(json.loads(ended.stdout.splitlines()[-1]))


def test_fork_bomb(attack: Attack) -> None:
    ended = attack(
        "import os, time\nstart = time.monotonic()\nwhile time.monotonic() - start < 9:\n try: os.fork()\n"
        " except OSError: pass"
    )
    assert ended.end == "time_limit"


def test_thread_bomb(attack: Attack) -> None:
    ended = attack(
        "import threading, time\nstarted = 0\ntry:\n while True:\n  threading.Thread(target=time.sleep, args=(9,),"
        " daemon=True).start(); started += 1\nexcept RuntimeError: print(started, flush=True); import os; os._exit(0)"
    )
    assert ended.end == "exit"
    assert 1 <= int(ended.stdout) <= 24


def test_a_daemonised_grandchild_dies_with_the_program(attack: Attack) -> None:
    code = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for descriptor in range(3):
            os.close(descriptor)
        time.sleep(60)
    os._exit(0)
os.wait()
print("parent done")
"""
    ended = attack(code)
    assert (ended.end, ended.stdout) == ("exit", b"parent done\n")
    assert ended.wall_s < 3


def test_a_daemon_that_keeps_the_output_open_does_not_hold_the_run(attack: Attack) -> None:
    ended = attack("import os, time\nif os.fork() == 0:\n os.setsid(); time.sleep(60)\nprint('done', flush=True)")
    assert (ended.end, ended.stdout) == ("exit", b"done\n")


def test_memory_balloon(attack: Attack) -> None:
    ended = attack("held = []\nwhile True: held.append(bytearray(1 << 20))", cpu_s=3)
    assert ended.end == "memory_limit"


def test_memory_balloon_in_many_processes(attack: Attack) -> None:
    code = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        held = bytearray(os.urandom(1 << 20) * 40)
        time.sleep(60)
        os._exit(0)
time.sleep(60)
"""
    assert attack(code, cpu_s=3, wall_s=8).end == "memory_limit"


def test_children_that_only_share_their_parents_memory_are_no_balloon(attack: Attack) -> None:
    code = """
import os, time
held = bytearray(100 << 20)
children = []
for _ in range(5):
    pid = os.fork()
    if pid == 0:
        time.sleep(0.2)
        os._exit(0)
    children.append(pid)
for pid in children: os.waitpid(pid, 0)
"""
    assert attack(code, cpu_s=3, memory_mb=256).end == "exit"


def test_memory_hidden_in_shared_mappings(attack: Attack) -> None:
    code = "import mmap\nheld = []\nwhile True:\n m = mmap.mmap(-1, 1 << 20); m.write(b'x' * (1 << 20)); held.append(m)"
    ended = attack(code, cpu_s=3)
    assert ended.end == "runtime_error"
    assert b"PermissionError" in ended.stderr  # there is none: a child that fills it and ends takes its share with it


def test_memory_that_no_limit_would_see(attack: Attack) -> None:
    code = (
        PRELUDE
        + NUMBERS
        + """
attempt("memfd", lambda: os.memfd_create("hidden"))
attempt("memfd_secret", lambda: call(447, 0))
attempt("System V shared memory", lambda: call(number(29, 194), 0, 1 << 20, 0o1600))
attempt("message queue", lambda: call(number(68, 186), 0, 0o1600))
"""
        + REPORT
    )
    assert reached(attack(code)) == []


FILL = """
import fcntl, os, socket, time
def fill(ends):
    for end in ends:
        os.set_blocking(end, False)
        try:
            while True: os.write(end, bytes(65536))
        except OSError: pass
def sockets():
    pairs = []
    try:
        while True: pairs += socket.socketpair()
    except OSError: pass
    for one in pairs:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 30)
    fill([one.fileno() for one in pairs])
    return pairs
def pipes():
    ends = []
    try:
        while True:
            ends.append(os.pipe())
            fcntl.fcntl(ends[-1][1], 1031, 1 << 20)
    except PermissionError:
        try:
            while True: ends.append(os.pipe())
        except OSError: pass
    except OSError: pass
    fill([end for _, end in ends])
    return ends
for _ in range(4):
    if os.fork() == 0:
        held = KIND()
        time.sleep(60)
        os._exit(0)
time.sleep(60)
"""


SENT = {
    "waiting connections": """
server = socket.socket(socket.AF_UNIX)
server.bind("server")
server.listen(4096)
for _ in range(4000):
    client = socket.socket(socket.AF_UNIX)
    client.setblocking(False)
    client.connect("server")
    fill([client.fileno()])
    client.close()
""",
    "sockets under way": """
import array
carrier = socket.socketpair()
for _ in range(4000):
    pair = socket.socketpair()
    fill([one.fileno() for one in pair])
    rights = array.array("i", [one.fileno() for one in pair])
    carrier[0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    for one in pair: one.close()
""",
    "datagrams": """
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind("server")
for _ in range(4000):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    client.setblocking(False)
    client.sendto(bytes(60000), "server")
    client.close()
""",
    "packets": "held = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)]",
}


@pytest.mark.parametrize("way", SENT)
def test_memory_in_sockets_that_no_process_has_open(attack: Attack, way: str) -> None:
    code = f"{FILL.partition('def sockets')[0]}import socket\n{SENT[way]}\nprint('all of it')\ntime.sleep(60)"
    ended = attack(code, cpu_s=5, wall_s=5, memory_mb=96)
    assert ended.end in ("memory_limit", "runtime_error"), ended
    assert b"all of it" not in ended.stdout


@pytest.mark.parametrize("kind", ["sockets", "pipes"])
def test_memory_in_the_kernels_buffers_counts(attack: Attack, kind: str) -> None:
    """Four children filled the buffers of sockets with 1,252 MB under a limit of 128 MB."""
    limit = 128 if kind == "sockets" else 24
    assert attack(FILL.replace("KIND", kind), cpu_s=5, wall_s=9, memory_mb=limit).end == "memory_limit"


def test_buffers_cannot_be_made_larger(attack: Attack) -> None:
    code = """
import fcntl, os, socket
left, right = socket.socketpair()
left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)
left.setblocking(False)
sent = 0
try:
    while True: sent += left.send(bytes(4096))
except BlockingIOError: pass
inside, outside = os.pipe()
try: fcntl.fcntl(outside, 1031, 1 << 20)
except PermissionError: pass
print(sent < 1 << 18, fcntl.fcntl(outside, 1032))
"""
    ended = attack(code)
    assert (ended.end, ended.stdout) == ("exit", b"True 65536\n"), ended.stderr


def test_programs_that_need_sockets_and_pipes_run(attack: Attack) -> None:
    code = """
import asyncio, multiprocessing
async def main():
    return await asyncio.gather(*(asyncio.sleep(0.01, n) for n in range(50)))
if __name__ == "__main__":
    print(sum(asyncio.run(main())))
    queue = multiprocessing.SimpleQueue()
    child = multiprocessing.Process(target=queue.put, args=(7,))
    child.start()
    print(queue.get())
    child.join()
"""
    ended = attack(code, cpu_s=4, wall_s=20)
    assert (ended.end, ended.stdout) == ("exit", b"1225\n7\n"), ended.stderr


def test_one_huge_allocation(attack: Attack) -> None:
    assert attack("bytearray(1 << 45)").end == "memory_limit"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_endless_output(attack: Attack, stream: str) -> None:
    ended = attack(f"import sys\nwhile True: sys.{stream}.write('x' * 10000)", cpu_s=3)
    assert ended.end == "output_limit"
    assert len(ended.stdout) <= 1 << 16
    assert len(ended.stderr) <= 1 << 16


def test_disk_filling(attack: Attack) -> None:
    code = """
import errno, os
written = 0
for folder in (".", "/tmp", "/dev/shm", os.environ["TMPDIR"]):
    try:
        with open(os.path.join(folder, "big"), "wb", buffering=0) as file:
            while True:
                written += file.write(b"x" * 65536)
    except OSError as error:
        assert error.errno in (errno.ENOSPC, errno.EFBIG, errno.ENOENT, errno.EROFS), error
print(written)
"""
    ended = attack(code, cpu_s=3)
    assert ended.end == "exit"
    assert int(ended.stdout) <= 8 << 20


def test_many_small_files(attack: Attack) -> None:
    code = "import itertools\nfor n in itertools.count(): open(str(n), 'w').close()"
    ended = attack(code, cpu_s=5, wall_s=8)
    # the warm worker's file system refuses; elsewhere the watch stops the program
    assert ended.end in {"output_limit", "runtime_error"}
    assert ended.end == "output_limit" or b"No space left" in ended.stderr


def test_deep_folders(attack: Attack) -> None:
    ended = attack("import os\nwhile True:\n os.mkdir('d'); os.chdir('d')", cpu_s=5, wall_s=8)
    assert ended.end in {"output_limit", "runtime_error"}


def test_symbolic_links_lead_nowhere(attack: Attack, tmp_path: Path) -> None:
    secret = tmp_path / "expected.json"
    secret.write_text("the answer")
    secret.chmod(0o644)
    code = (
        PRELUDE + f"targets = {[str(secret), '/etc/shadow', str(Path.home() / '.bashrc'), '/proc/1/root/etc/shadow']}\n"
    )
    code += """
for number, target in enumerate(targets):
    os.symlink(target, str(number))
    attempt(target, lambda: open(str(number)).read())
    attempt("link to " + target, lambda: os.link(target, "hard" + str(number)))
"""
    assert reached(attack(code + REPORT)) == []


def test_neighbouring_folders_are_not_there(attack: Attack, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "targets.h5").write_text("expected")
    here = Path(__file__).resolve()
    paths = [str(shared), str(shared / "targets.h5"), str(here), str(here.parents[2]), str(here.parents[3] / "shared")]
    code = PRELUDE + f"paths = {paths}\n"
    code += """
# an environment inside the checkout is the interpreter's own: the way to it is there, and nothing beside it
way = {p for prefix in (sys.prefix, sys.base_prefix) for p in [prefix, *map(str, pathlib.Path(prefix).parents)]}
for path in paths + ["../shared", "../../shared", "/mnt", "/srv", "/var", "/home", "/boot", "/sys", "/run", "/opt"]:
    attempt(path, lambda: [n for n in os.listdir(path) if os.path.join(path, n) not in way] or [][0])
    attempt("file " + path, lambda: open(path).read())
"""
    assert reached(attack(code + REPORT)) == []


def test_home_and_environment(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    code = PRELUDE + f"home = {str(Path.home())!r}\n"
    code += """
seen = set(os.listdir(home)) if os.path.isdir(home) else set()
prefixes = {os.path.relpath(p, home).split(os.sep)[0] for p in (sys.prefix, sys.base_prefix)}
if seen - prefixes: reached.append("home: " + str(seen - prefixes))
everything = "".join(os.environ.values())
for process in os.listdir("/proc"):
    if process.isdigit():
        try: everything += open("/proc/" + process + "/environ").read()
        except OSError: pass
if "hf_secret" in everything: reached.append("environment")
if os.environ["HOME"] == home: reached.append("HOME")
"""
    assert reached(attack(code + REPORT)) == []


def test_proc_shows_no_other_process(attack: Attack) -> None:
    code = PRELUDE + f"parent = {os.getpid()}\n"
    code += """
names = [open(f"/proc/{p}/cmdline").read() for p in os.listdir("/proc") if p.isdigit()]
if any("pytest" in name for name in names): reached.append("the harness's command line")
if len(names) > 4: reached.append(str(names))
for name in ("mem", "environ", "root", "cwd", "fd", "maps"):
    path = f"/proc/{parent}/{name}"
    if parent > 10: attempt(path, lambda: os.listdir(path) if name in ("root", "cwd", "fd") else open(path).read(10))
"""
    assert reached(attack(code + REPORT)) == []


def test_kernel_settings_cannot_be_written(attack: Attack) -> None:
    code = (
        PRELUDE
        + """
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger",
             "/proc/sys/vm/drop_caches", "/proc/self/uid_map", "/proc/1/uid_map",
             "/proc/sys/user/max_user_namespaces", "/proc/self/loginuid"):
    attempt(path, lambda: put(path, b"1"))
attempt("raise own protection", lambda: put("/proc/self/oom_score_adj", b"-1000"))
"""
        + REPORT
    )
    assert reached(attack(code)) == []


def test_overwriting_the_first_process_does_not_become_a_fault_of_the_harness(attack: Attack) -> None:
    code = """
import os, time
try:
    with open("/proc/1/maps") as maps:
        ranges = [line.split()[0].split("-") for line in maps if " r-xp " in line or " rw-p " in line]
    memory = os.open("/proc/1/mem", os.O_RDWR)
    for start, end in ranges:
        try: os.pwrite(memory, b"\\xcc" * min(4096, int(end, 16) - int(start, 16)), int(start, 16))
        except OSError: pass
except OSError:
    pass
os._exit(7)
"""
    # `attack` itself refuses an infrastructure error; whatever the program did to its own namespace is its own failure
    assert attack(code).end == "runtime_error"


def test_signals_do_not_leave(attack: Attack) -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: got.append(number))
    try:
        code = PRELUDE + f"parents = {[os.getpid(), os.getppid()]}\n"
        code += """
for pid in parents:
    if pid > 10: attempt(f"signal to {pid}", lambda: os.kill(pid, signal.SIGUSR1))
os.kill(0, 0)
"""
        assert reached(attack(code + REPORT)) == []
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert got == []


@pytest.mark.parametrize("target", [-1, 0, 1])
def test_killing_everything_within_reach(attack: Attack, target: int) -> None:
    ended = attack(f"import os\ntry: os.kill({target}, 9)\nexcept ProcessLookupError: pass")
    assert ended.end == ("runtime_error" if target == 0 else "exit")


def test_tracing(attack: Attack) -> None:
    code = (
        PRELUDE
        + NUMBERS
        + """
child = os.fork()
if child == 0:
    time.sleep(5); os._exit(0)
attempt("ptrace attach", lambda: call(number(101, 117), 16, child, 0, 0))
attempt("ptrace seize", lambda: call(number(101, 117), 0x4206, child, 0, 0))
attempt("ptrace the first process", lambda: call(number(101, 117), 16, 1, 0, 0))
attempt("process_vm_readv", lambda: call(number(310, 270), 1, 0, 0, 0, 0, 0))
attempt("process_vm_writev", lambda: call(number(311, 271), 1, 0, 0, 0, 0, 0))
attempt("pidfd_getfd", lambda: call(438, os.pidfd_open(child), 0, 0))
os.kill(child, 9)
"""
        + REPORT
    )
    assert reached(attack(code)) == []


def test_sockets_of_every_family(attack: Attack) -> None:
    code = (
        PRELUDE
        + """
for family in range(0, 50):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        if family != socket.AF_UNIX:
            attempt(f"family {family} type {kind}", lambda: socket.socket(family, kind).close())
left, right = socket.socketpair()
left.send(b"x"); assert right.recv(1) == b"x"
"""
        + REPORT
    )
    assert reached(attack(code)) == []


def test_other_programs_sockets(attack: Attack, tmp_path: Path) -> None:
    with socket.socket() as inet, socket.socket(socket.AF_UNIX) as abstract, socket.socket(socket.AF_UNIX) as named:
        inet.bind(("127.0.0.1", 0))
        abstract.bind("\0bitparity-attack")
        named.bind(str(tmp_path / "socket"))
        for listener in (inet, abstract, named):
            listener.listen()
        code = PRELUDE + f"port, path = {inet.getsockname()[1]}, {str(tmp_path / 'socket')!r}\n"
        code += """
attempt("inet", lambda: socket.create_connection(("127.0.0.1", port), timeout=1))
attempt("abstract", lambda: socket.socket(socket.AF_UNIX).connect("\\0bitparity-attack"))
for address in (path, "/var/run/docker.sock", "/run/docker.sock", "/run/dbus/system_bus_socket"):
    attempt(address, lambda: socket.socket(socket.AF_UNIX).connect(address))
attempt("names", lambda: socket.getaddrinfo("example.org", 80))
"""
        assert reached(attack(code + REPORT)) == []


def test_the_interpreter_cannot_be_changed(attack: Attack) -> None:
    before = Path(json.__file__).read_bytes()
    code = PRELUDE + f"site = {str(Path(pytest.__file__).parent)!r}\n"
    code += """
import sysconfig
for path in (json.__file__, os.path.realpath(sys.executable), "/usr/bin/env", "/bin/sh", "/etc/passwd"):
    attempt("write " + path, lambda: open(path, "r+b"))
    attempt("chmod " + path, lambda: os.chmod(path, 0o777))
    attempt("unlink " + path, lambda: os.unlink(path))
    attempt("replace " + path, lambda: os.rename(path, path + ".old"))
for folder in (site, sys.prefix, sysconfig.get_path("purelib"), "/", "/etc", "/usr/lib", "/dev", "/proc", "/root"):
    attempt("new file in " + folder, lambda: open(os.path.join(folder, "sitecustomize.py"), "w"))
    attempt("new folder in " + folder, lambda: os.mkdir(os.path.join(folder, "evil")))
"""
    assert reached(attack(code + REPORT)) == []
    assert Path(json.__file__).read_bytes() == before


def test_sleeping_past_the_limit(attack: Attack) -> None:
    ended = attack("import time\ntime.sleep(60)", wall_s=0.4)
    assert ended.end == "time_limit"
    assert ended.wall_s < 3


def test_ignoring_every_signal(attack: Attack) -> None:
    code = """
import signal
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
while True: pass
"""
    ended = attack(code, cpu_s=0.4)
    assert ended.end == "time_limit"


def test_stopping_itself(attack: Attack) -> None:
    assert attack("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", wall_s=0.4).end == "time_limit"


def test_cpu_time_in_many_processes_counts_together(attack: Attack) -> None:
    code = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"
    ended = attack(code, cpu_s=0.5, wall_s=20)
    assert ended.end == "time_limit"
    assert ended.wall_s < 10


def test_cpu_time_of_children_that_nobody_waits_for(attack: Attack) -> None:
    code = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    if os.fork() == 0:
        end = time.process_time() + 0.1
        while time.process_time() < end: pass
        os._exit(0)
    time.sleep(0.1)
"""
    ended = attack(code, cpu_s=0.5, wall_s=20)
    assert ended.end == "time_limit"
    assert ended.wall_s < 15


@pytest.mark.parametrize("crash", ["ctypes.string_at(0)", "os.abort()", "os.kill(os.getpid(), 11)"])
def test_native_crash(attack: Attack, crash: str) -> None:
    ended = attack(f"import ctypes, os\n{crash}")
    assert ended.end == "runtime_error"
    assert ended.status in {-signal.SIGSEGV, -signal.SIGABRT}


def test_no_core_file(attack: Attack) -> None:
    code = (
        PRELUDE
        + """
attempt("core limit", lambda: resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20)))
if os.fork() == 0: os.abort()
os.wait()
reached += [name for name in os.listdir(".") if "core" in name]
"""
    )
    assert reached(attack(code + REPORT)) == []


def test_closing_the_standard_streams(attack: Attack) -> None:
    ended = attack("import os\nfor n in range(3): os.close(n)\nos._exit(3)")
    assert (ended.end, ended.status) == ("runtime_error", 3)


def test_no_descriptor_is_inherited(attack: Attack) -> None:
    code = (
        PRELUDE
        + """
for descriptor in range(3, 1024):
    attempt(f"stat {descriptor}", lambda: os.fstat(descriptor))
    attempt(f"write {descriptor}", lambda: os.write(descriptor, b"pass"))
"""
        + REPORT
    )
    assert reached(attack(code)) == []


def test_limits_cannot_be_raised(attack: Attack) -> None:
    code = (
        PRELUDE
        + """
for name in ("CPU", "AS", "FSIZE", "NPROC", "NOFILE", "CORE", "MEMLOCK"):
    kind = getattr(resource, "RLIMIT_" + name)
    hard = resource.getrlimit(kind)[1]
    assert hard != resource.RLIM_INFINITY, name
    attempt(name, lambda: resource.setrlimit(kind, (hard + 1, hard + 1)))
attempt("another process's limits", lambda: resource.prlimit(1, resource.RLIMIT_CPU, (1, 1)))
"""
        + REPORT
    )
    assert reached(attack(code)) == []


def test_namespaces_and_mounts(attack: Attack) -> None:
    code = (
        PRELUDE
        + NUMBERS
        + """
for flag in (0x10000000, 0x00020000, 0x20000000, 0x40000000, 0x08000000, 0x04000000, 0x02000000, 0x80):
    attempt(f"unshare {flag:x}", lambda: call(number(272, 97), flag))
    def cloned():
        if (pid := call(number(56, 220), flag | 17, 0, 0, 0, 0)) == 0: os._exit(0)
        os.waitpid(pid, 0)
    if flag > 0x80: attempt(f"clone {flag:x}", cloned)
attempt("clone3", lambda: call(435, 0, 0))
namespace = os.open("/proc/self/ns/user", os.O_RDONLY)
attempt("setns", lambda: call(number(308, 268), namespace, 0))
attempt("mount", lambda: call(number(165, 40), b"none", b"/box", b"tmpfs", 0, 0))
attempt("remount", lambda: call(number(165, 40), b"none", b"/usr", 0, 32 | 4096, 0))
attempt("umount", lambda: call(number(166, 39), b"/proc", 2))
attempt("chroot", lambda: os.chroot("/box"))
attempt("pivot_root", lambda: call(number(155, 41), b"/box", b"/box"))
attempt("fsopen", lambda: call(430, b"tmpfs", 0))
attempt("open_tree", lambda: call(428, -100, b"/", 1))
"""
        + REPORT
    )
    assert reached(attack(code)) == []


def test_gaining_rights(attack: Attack) -> None:
    code = (
        PRELUDE
        + """
attempt("setuid", lambda: os.setuid(0))
attempt("setgid", lambda: os.setgid(0))
attempt("setgroups", lambda: os.setgroups([0]))
attempt("chown", lambda: (open("mine", "w").close(), os.chown("mine", 0, 0)))
attempt("device", lambda: os.mknod("disk", 0o60666, os.makedev(254, 0)))
for tool in ("/usr/bin/su", "/usr/bin/sudo", "/usr/bin/newuidmap", "/usr/bin/passwd", "/usr/bin/mount"):
    if os.path.exists(tool):
        attempt(tool, lambda: subprocess.run([tool, "root"], check=True, input=b"", capture_output=True, timeout=2))
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
    if int(status[name], 16): reached.append(name)
if status["NoNewPrivs"] != "1" or status["Seccomp"] != "2": reached.append("filter")
if 0 in os.getresuid() + os.getresgid(): reached.append("root")
"""
        + REPORT
    )
    assert reached(attack(code)) == []


def test_raising_priority(attack: Attack) -> None:
    code = (
        PRELUDE
        + """
attempt("nice", lambda: os.nice(-5))
attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, 0, -5))
attempt("real time", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
"""
        + REPORT
    )
    assert reached(attack(code)) == []


def test_kernel_interfaces_with_a_history(attack: Attack) -> None:
    code = (
        PRELUDE
        + NUMBERS
        + """
buffer = ctypes.create_string_buffer(256)
for name, x86, arm in (("keyctl", 250, 219), ("add_key", 248, 217), ("bpf", 321, 280), ("perf_event_open", 298, 241),
                       ("userfaultfd", 323, 282), ("fanotify_init", 300, 262), ("init_module", 175, 105),
                       ("kexec_load", 246, 104), ("reboot", 169, 142), ("swapon", 167, 224), ("acct", 163, 89),
                       ("syslog", 103, 116), ("sethostname", 170, 161), ("settimeofday", 164, 170),
                       ("name_to_handle_at", 303, 264), ("quotactl", 179, 60), ("personality", 135, 92)):
    first = 0x0040000 if name == "personality" else 0
    attempt(name, lambda: call(number(x86, arm), first, 0, 0, 0, 0))
attempt("io_uring", lambda: call(425, 4, buffer))
attempt("later calls", lambda: call(480, 0))
attempt("terminal input", lambda: __import__("fcntl").ioctl(0, 0x5412, b"x"))
attempt("outliving the parent", lambda: libc.prctl(1, 0, 0, 0, 0) == 0 or [][0])
for device in ("/dev/mem", "/dev/kmsg", "/dev/kvm", "/dev/fuse", "/dev/tty", "/dev/nvidiactl", "/proc/kcore"):
    attempt(device, lambda: open(device, "rb").read(1))
"""
        + REPORT
    )
    assert reached(attack(code)) == []


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="a second numbering of calls exists on x86_64 only")
def test_calls_by_another_numbering(attack: Attack) -> None:
    ended = attack("import ctypes\nctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 | 39))\nprint('went through')")
    assert (ended.end, ended.stdout) == ("runtime_error", b"")


def test_huge_arguments_and_environment(attack: Attack) -> None:
    code = """
import os, sys
if len(sys.argv) < 50:
    arguments = [sys.executable, "-S", "-c", "print('again')", *["x" * 100000] * 60]
    os.execve(sys.executable, arguments, {"BIG": "y" * 100000})
"""
    assert attack(code, cpu_s=2).end in {"exit", "runtime_error"}


def test_input_that_is_never_read(attack: Attack) -> None:
    ended = attack("print('done')", stdin=b"x" * (4 << 20))
    assert (ended.end, ended.stdout) == ("exit", b"done\n")


def test_imitating_a_fault_of_the_sandbox(attack: Attack) -> None:
    code = "import sys\nsys.stderr.write('bwrap: Creating new namespace failed\\n')\nsys.exit(1)"
    ended = attack(code)
    assert (ended.end, ended.status) == ("runtime_error", 1)


def test_exit_status_of_the_program(attack: Attack) -> None:
    assert attack("import os\nos._exit(42)").status == 42


def test_a_program_that_is_too_large_to_start_is_a_fault_of_the_harness(box: Sandbox) -> None:
    ended = box.run({}, [box.python, "-c", "pass", "x" * (3 << 20)])
    assert ended.end == "infrastructure_error"
    assert ended.detail


def test_paths_out_of_the_working_directory_are_refused(box: Sandbox) -> None:
    for name in ("/etc/passwd", "../main.py", "a/../../b", ""):
        with pytest.raises(ValueError, match="relative path"):
            box.run({name: b""}, [box.python, "-c", "pass"])


def test_two_programs_do_not_see_each_other(box: Sandbox) -> None:
    first = box.run({}, [box.python, "-c", "open('/box/tmp/left', 'w').close(); open('left', 'w').close()"])
    assert first.end == "exit", first
    second = box.run({}, [box.python, "-c", "import os; print(os.listdir('/box/tmp'), os.listdir('.'))"])
    assert second.stdout == b"[] []\n", second


def test_verdicts_do_not_depend_on_the_load(box: Sandbox) -> None:
    limits = Limits(cpu_s=0.4, wall_s=30, memory_mb=128)
    programs = {
        "exit": "sum(range(500_000)); print('x')",
        "time_limit": "while True: pass",
        "memory_limit": "held = []\nwhile True: held.append(bytearray(1 << 20))",
        "runtime_error": "1 / 0",
    }

    def ends() -> list[str]:
        return [box.run({}, [box.python, "-S", "-c", code], b"", limits).end for code in programs.values()]

    assert ends() == list(programs)
    busy = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(3)]
    try:
        assert ends() == list(programs)
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_a_worker_of_a_parent_with_many_descriptors_gives_none_of_them_to_a_script(box: Sandbox) -> None:
    """Its control socket had a high number there and stayed open: a script forged its own exit code."""
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(900)]
    try:
        with WarmWorker(box, ["json"]) as worker:
            ended = worker.run({}, "import os\nprint(sorted(map(int, os.listdir('/proc/self/fd'))))")
            again = worker.run({}, "import sys\nsys.exit(7)")
    finally:
        for descriptor in held:
            os.close(descriptor)
    assert (ended.end, ended.stdout) == ("exit", b"[0, 1, 2, 3]\n")  # 3 is the listing's own
    assert (again.end, again.status) == ("runtime_error", 7)


def test_64_scripts_of_a_parent_with_many_descriptors_reach_nothing(box: Sandbox) -> None:
    """All at once, beside 1,000 open descriptors: each sees its own three, and forges nothing through any number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    code = """
import os, sys
listed = sorted(map(int, os.listdir('/proc/self/fd')))
for number in range(3, 4096):
    try: os.write(number, b'{"exit": 0}')
    except OSError: pass
print(listed, os.getpid())
sys.exit(int(sys.stdin.read()))
"""
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1000)]
    try:
        with WarmWorker(box, ["json"]) as worker, ThreadPoolExecutor(64) as pool:
            limits = Limits(cpu_s=5, wall_s=120, memory_mb=256)
            ends = list(pool.map(lambda n: worker.run({}, code, str(n).encode(), limits), range(1, 65)))
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [(ended.end, ended.status) for ended in ends] == [("runtime_error", n) for n in range(1, 65)]
    assert {ended.stdout.partition(b"]")[0] for ended in ends} == {b"[0, 1, 2, 3"}
