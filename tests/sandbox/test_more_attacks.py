"""Tables of attacks, run in every way that code is run: a fresh sandbox, the warm worker, Landlock."""

from __future__ import annotations

import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from bitparity.sandbox.contract import Ended, Sandbox
from bitparity.sandbox.warm import WarmWorker
from tests.sandbox.conftest import SHORT
from tests.sandbox.test_attacks import NUMBERS, PRELUDE, REPORT, reached

MARK = secrets.token_hex(16)  # in no program's text, memory or files but the harness's own
Way = Callable[..., Ended]


@pytest.fixture(params=["fresh", "warm", "landlock"])
def way(request: pytest.FixtureRequest) -> Way:
    """Runs a program; afterwards the next one must run as if nothing had been."""

    def run(code: str, stdin: bytes = b"", **limits: float) -> Ended:
        asked = replace(SHORT, cpu_s=2.0, wall_s=8.0) if not limits else replace(SHORT, **limits)
        if request.param == "warm":
            worker: WarmWorker = request.getfixturevalue("worker")
            ended, after = worker.run({}, code, stdin, asked), worker.run({}, "print(6 * 7)")
        else:
            sandbox: Sandbox = request.getfixturevalue("box" if request.param == "fresh" else "landlock")
            ended = sandbox.run({"main.py": code.encode()}, [sandbox.python, "-S", "main.py"], stdin, asked)
            after = sandbox.run({}, [sandbox.python, "-S", "-c", "print(6 * 7)"])
        assert ended.end != "infrastructure_error", ended.detail
        assert (after.end, after.stdout) == ("exit", b"42\n")
        return ended

    return run


# What a program reaches that it must not: each calls `attempt` with something that has to fail. `OWN` are the harness's
# process id, a TCP port and an abstract socket that it listens on, a file and a folder of its own.
REACHES: dict[str, str] = {
    "files: a folder of the harness": """
for path in (FILE, FOLDER, FOLDER + "/../" + os.path.basename(FOLDER), "/proc/self/root" + FILE):
    attempt(path, lambda: open(path).read() if os.path.isfile(path) else os.listdir(path))
    attempt("write " + path, lambda: open(path + "x", "w"))""",
    "files: by openat from a descriptor of the root": """
root = os.open("/", os.O_PATH | os.O_DIRECTORY)
attempt("openat", lambda: os.open(FILE.lstrip("/"), os.O_RDONLY, dir_fd=root))
attempt("openat2", lambda: call(437, root, FILE.lstrip("/").encode(), ctypes.create_string_buffer(24), 24))""",
    "files: links made to files of others": """
for number, path in enumerate(("/etc/passwd", sys.executable, FILE)):
    attempt("hard link " + path, lambda: os.link(path, f"hard{number}"))
    attempt("linkat by descriptor", lambda: os.link(f"/proc/self/fd/{os.open(path, os.O_RDONLY)}", f"by{number}",
                                                    follow_symlinks=True))""",
    "files: an unnamed file put into a folder of others": """
for place in ("/usr", "/etc", sys.prefix, os.path.dirname(os.__file__), "/var", "/root", "/home"):
    attempt(place, lambda: os.open(place, os.O_TMPFILE | os.O_WRONLY))""",
    "files: the interpreter's own": """
for path in (os.__file__, sys.executable, json.__file__, os.path.dirname(os.__file__)):
    attempt("write " + path, lambda: open(path, "r+b"))
    attempt("mode " + path, lambda: os.chmod(path, 0o777))
    attempt("times " + path, lambda: os.utime(path, (0, 0)))
    attempt("name " + path, lambda: os.rename(path, path + ".x"))
    attempt("attribute " + path, lambda: os.setxattr(path, "user.x", b"x"))
    attempt("size " + path, lambda: os.truncate(path, 0))""",
    "files: settings and sockets of the host": """
for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/systemd/private", "/run/dbus/system_bus_socket"):
    attempt(path, lambda: socket.socket(socket.AF_UNIX).connect(path))
for path in ("/etc/shadow", "/var/log", "/run/secrets", "/sys/kernel/debug", "/boot",
             "/var/lib/docker", "/sys/firmware/efi", "/sys/class/dmi/id/product_uuid", "/etc/ssh"):
    attempt(path, lambda: os.listdir(path) if os.path.isdir(path) else open(path).read(1))""",
    "files: control groups": """
for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/proc/self/cgroup"):
    for name in ("cgroup.procs", "tasks", "memory.max", "release_agent", "notify_on_release"):
        attempt(f"{top}/{name}", lambda: put(f"{top}/{name}", b"0"))""",
    "files: device nodes": """
for kind, number in ((0o20666, (1, 1)), (0o60666, (8, 0)), (0o20666, (5, 0))):
    attempt(f"node {number}", lambda: os.mknod("node", kind, os.makedev(*number)))
for path in ("/dev/ptmx", "/dev/pts/ptmx", "/dev/loop-control", "/dev/sda", "/dev/vda", "/dev/input", "/dev/net/tun",
             "/dev/shm/../mem", "/dev/port", "/dev/uinput", "/dev/vsock"):
    attempt(path, lambda: os.open(path, os.O_RDWR))""",
    "network: servers of the host": """
for family, address in ((socket.AF_INET, ("127.0.0.1", PORT)), (socket.AF_INET6, ("::1", PORT)),
                        (socket.AF_UNIX, "\\0" + ABSTRACT), (socket.AF_INET, ("169.254.169.254", 80))):
    def connect():
        with socket.socket(family) as client:
            client.settimeout(1)
            client.connect(address)
    attempt(str(address), connect)
attempt("datagram", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", PORT)))
attempt("name", lambda: socket.getaddrinfo("example.com", 80))""",
    "network: interfaces and rare families": """
for family in (socket.AF_NETLINK, socket.AF_PACKET, 38, 40, 44, 16, 17, 31, 10):
    attempt(f"family {family}", lambda: socket.socket(family, socket.SOCK_RAW))
attempt("interfaces", lambda: [n for _, n in socket.if_nameindex() if n != "lo"][0])
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
attempt("set the interface up", lambda: __import__("fcntl").ioctl(socket.socket(), 0x8914, b"lo" + bytes(38)))""",
    "processes: the harness by descriptor": """
for pid in {PID, os.getppid()} - {0, 1} if PID > 40 else {PID}:
    attempt("pidfd", lambda: signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGUSR1))
    attempt("thread signal", lambda: call(234 if platform.machine() == "x86_64" else 131, pid, pid, 10))
    attempt("queued signal", lambda: libc.sigqueue(pid, 10, ctypes.c_void_p(0)) == 0 or [][0])
    attempt("group", lambda: os.killpg(pid, signal.SIGUSR1))
    attempt("limits", lambda: resource.prlimit(pid, resource.RLIMIT_CPU))
    attempt("cores", lambda: os.sched_setaffinity(pid, {0}))
    attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))""",
    "processes: signals by way of descriptors": """
import fcntl
for descriptor in (0, 1, 2):
    attempt(f"owner of {descriptor}", lambda: (fcntl.fcntl(descriptor, fcntl.F_SETOWN, PID), PID < 40 or [][0]) and
            os.kill(PID, 0))""",
    "processes: another session's terminal": """
import fcntl, termios
for path in ("/dev/tty", "/dev/console", "/dev/tty0", "/proc/self/fd/0"):
    attempt(path, lambda: fcntl.ioctl(os.open(path, os.O_RDWR), termios.TIOCSTI, b"x"))
attempt("steal", lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 1))""",
    "memory: that is locked, secret or huge": NUMBERS
    + """
attempt("lock all", lambda: (call(number(151, 230), 3), bytearray(64 << 20)))
attempt("secret", lambda: call(447, 0))
attempt("memory file", lambda: os.memfd_create("x"))
attempt("huge pages", lambda: mmap.mmap(-1, 2 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000))
""",
    "memory: shared by name": NUMBERS
    + """
from multiprocessing import shared_memory
attempt("System V", lambda: call(number(29, 194), 4711, 4096, 0o1666))
attempt("semaphores", lambda: call(number(64, 190), 4711, 1, 0o1666))
attempt("messages", lambda: call(number(68, 186), 4711, 0o1666))
attempt("POSIX queue", lambda: call(number(240, 180), b"x", 0o102, 0o600, 0))
if os.path.exists("/dev/shm/KEPT") or os.path.exists("/tmp/KEPT"): reached.append("what an earlier program left")
for path in ("/dev/shm/KEPT", "/tmp/KEPT"):
    try: open(path, "w").close()
    except OSError: pass""",
    "memory: what the harness knows": """
import gc
held = [o for o in gc.get_objects() if isinstance(o, socket.socket) and o.fileno() >= 0]
try:
    [o.send(b"{}") for o in held]
    if held: reached.append(f"a socket of the worker's: {held}")
except OSError: pass
needle = MARK_HALF + MARK_REST[::-1]
frame, names = sys._getframe().f_back, []
while frame is not None:
    names.append(repr(frame.f_locals)[:100000]); frame = frame.f_back
if needle in "".join(names): reached.append("an earlier program in a frame")
def search():
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb") as memory:
        for line in maps:
            if " rw-p " in line and "[stack]" not in line and "[vvar]" not in line:
                start, end = (int(part, 16) for part in line.split()[0].split("-"))
                memory.seek(start)
                data = memory.read(min(end - start, 16 << 20))
                at = data.find(needle.encode()[:30])
                while at >= 0:
                    if data[at : at + 40].startswith(needle.encode()) and b"EARLIER" in data[max(0, at - 30) : at]:
                        reached.append("an earlier program in memory"); return
                    at = data.find(needle.encode()[:30], at + 1)
try: search()
except OSError: pass""",
    "descriptors: more than three": """
for number in range(3, 4096):
    try: os.fstat(number)
    except OSError: continue
    kind = os.readlink(f"/proc/self/fd/{number}") if os.path.isdir("/proc/self/fd") else "?"
    if "/box" not in kind and "main.py" not in kind and kind != "?": reached.append(f"{number}: {kind}")""",
    "descriptors: the standard ones opened anew": """
for number in (0, 1, 2):
    try: descriptor = os.open(f"/proc/self/fd/{number}", os.O_RDWR | os.O_NONBLOCK)
    except OSError: continue
    os.set_blocking(descriptor, False)
    try:
        if number and os.read(descriptor, 100): reached.append("what others wrote")
    except OSError: pass
    os.close(descriptor)""",
    "environment: of everybody": """
if any("SECRET" in name or MARK_HALF in value for name, value in os.environ.items()): reached.append("environment")
try: processes = os.listdir("/proc")
except OSError: processes = []
for process in processes:
    if process.isdigit():
        for name in ("environ", "cmdline"):
            try: text = open(f"/proc/{process}/{name}").read()
            except OSError: continue
            if MARK_HALF in text.replace(MARK_HALF, "", 1) and name == "environ": reached.append(process)""",
    "proc: of the kernel": """
for path in ("/proc/kcore", "/proc/kmsg", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/vmallocinfo",
             "/proc/slabinfo", "/proc/pagetypeinfo", "/proc/1/mem", "/proc/1/maps", "/proc/1/stack",
             "/proc/self/stack", "/proc/acpi"):
    def read():
        text = open(path, "rb").read(4096)
        # addresses that are all zeros, and a first process that is the sandbox's own, tell nothing
        if not text.strip(b"\\0 \\n") or (path.startswith("/proc/1/") or path == "/proc/keys"
            or not any(c in text for c in b"123456789")): raise OSError
    attempt(path, read)
for path in ("/proc/sys/kernel/randomize_va_space", "/proc/sys/fs/suid_dumpable", "/proc/sys/vm/overcommit_memory",
             "/proc/sys/net/core/wmem_max", "/proc/pressure/memory", "/proc/irq/default_smp_affinity",
             "/proc/sys/kernel/modprobe", "/proc/sys/fs/binfmt_misc/register", "/proc/self/attr/current",
             "/proc/self/timens_offsets", "/proc/self/projid_map", "/proc/self/setgroups"):
    attempt("write " + path, lambda: put(path, b"1"))""",
    "rights: a program with the set-user-id bit": """
import shutil
def suid():
    shutil.copy("/bin/true" if os.path.exists("/bin/true") else sys.executable, "mine")
    os.chmod("mine", 0o6755)
    status = os.stat("mine")
    if status.st_mode & 0o6000 and status.st_uid == 0: return
    raise OSError
attempt("set-user-id root", suid)
capability = bytes.fromhex("0100000200" + "20" * 15)
attempt("file capability", lambda: os.setxattr("main.py", "security.capability", capability))
attempt("trusted attribute", lambda: os.setxattr(".", "trusted.x", b"x"))
attempt("securebits", lambda: libc.prctl(28, 0x2F, 0, 0, 0) == 0 or [][0])
attempt("ambient", lambda: libc.prctl(47, 2, 21, 0, 0) == 0 or [][0])
attempt("a filter of one's own that is weaker", lambda: libc.prctl(22, 0, 0, 0, 0) == 0 or [][0])
attempt("regain", lambda: os.setresuid(0, 0, 0))""",
    "rights: the groups of the harness": """
extra = set(os.getgroups()) - {os.getgid(), 65534}
if 0 in extra or 0 in (os.getgid(), os.getegid()): reached.append(f"groups {os.getgroups()}")""",
    "time: the clock": NUMBERS
    + """
attempt("set", lambda: time.clock_settime(time.CLOCK_REALTIME, 0))
attempt("adjust", lambda: call(number(159, 171), ctypes.create_string_buffer(b"\\1" + bytes(300))))
attempt("step", lambda: call(number(305, 266), 0, ctypes.create_string_buffer(b"\\1" + bytes(300))))""",
    "kernel: calls that few need": NUMBERS
    + """
buffer = ctypes.create_string_buffer(512)
for name, one, two in (("ioperm", 173, -1), ("iopl", 172, -1), ("modify_ldt", 154, -1), ("lookup_dcookie", 212, 18),
                       ("vhangup", 153, 58), ("migrate_pages", 256, 238), ("move_pages", 279, 239),
                       ("kcmp", 312, 272), ("process_madvise", 440, 440), ("landlock", -1, -1),
                       ("mount_setattr", 442, 442), ("move_mount", 429, 429), ("fsconfig", 431, 431),
                       ("quotactl_fd", 443, 443), ("open_by_handle_at", 304, 265), ("delete_module", 176, 106),
                       ("finit_module", 313, 273), ("kexec_file_load", 320, 294), ("nfsservctl", 180, 42),
                       ("memfd_secret", 447, 447), ("io_setup", 206, 0)):
    if (chosen := number(one, two)) >= 0:
        attempt(name, lambda: call(chosen, 1 if name == "io_setup" else 0, buffer, buffer, 0, 0))""",
    "kernel: watching what others do": NUMBERS
    + """
def watch(path, mask=0x3F):
    descriptor = call(number(294, 26), 0x800)
    call(number(254, 27), descriptor, path.encode(), mask)
    time.sleep(0.3)
    if not os.read(descriptor, 4096): raise OSError
for path in (FOLDER, "/proc", "/run"):
    attempt("inotify " + path, lambda: watch(path))
attempt("fanotify", lambda: call(number(300, 262), 0, 0))
attempt("perf", lambda: call(number(298, 241), ctypes.create_string_buffer(128), -1, 0, -1, 0))""",
    "descriptors: an owner who is signalled": """
import fcntl
for descriptor in (*os.pipe(), 0, 1, 2):
    for command in (8, 10):
        attempt(f"fcntl {command}", lambda: fcntl.fcntl(descriptor, command, PID if command == 8 else 9))
    attempt("F_SETOWN_EX", lambda: fcntl.fcntl(descriptor, 15, b"\\1\\0\\0\\0" + PID.to_bytes(4, "little")))
    for request in (0x8901, 0x8902):
        attempt(f"ioctl {request:x}", lambda: fcntl.ioctl(descriptor, request, PID.to_bytes(4, "little")))""",
    "descriptors: told what others do": """
import fcntl
for path in ("/usr/lib", os.path.dirname(os.__file__), "."):
    attempt("dnotify " + path, lambda: fcntl.fcntl(os.open(path, os.O_RDONLY), 1026, 0x8000003F))
for path in (sys.executable, os.__file__):
    for kind in (0, 1): attempt("lease " + path, lambda: fcntl.fcntl(os.open(path, os.O_RDONLY), 1024, kind))""",
    "memory: shared without a name": """
for flags in (0x21, 0x23, 0x4021):
    attempt(f"flags {flags:x}", lambda: mmap.mmap(-1, 4096, flags=flags))
for mode in (os.O_RDWR, os.O_RDONLY):
    attempt("device", lambda: mmap.mmap(os.open("/dev/zero", mode), 4096, access=mmap.ACCESS_READ))""",
    "memory: pages given to a pipe": NUMBERS
    + """
class Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))
attempt("vmsplice", lambda: call(number(278, 75), os.pipe()[1], ctypes.byref(Vector(b"x" * 4096, 1)), 1, 2))""",
    "kernel: rules and filters without end": NUMBERS
    + """
attempt("rule set", lambda: call(444, ctypes.byref(ctypes.c_uint64(4)), 8, 0))
attempt("version", lambda: call(444, 0, 0, 1))
attempt("filter", lambda: call(number(317, 277), 2, 0, ctypes.create_string_buffer(16)))""",
    "kernel: devices of virtual machines and GPUs": """
for name in ("kvm", "fuse", "userfaultfd", "nvidiactl", "nvidia0", "nvidia-uvm", "dri/card0", "dri/renderD128", "kfd",
             "vhost-net", "vfio/vfio", "mem", "kmsg", "cuse", "snapshot", "hwrng", "rtc0", "udmabuf"):
    attempt(name, lambda: os.open("/dev/" + name, os.O_RDONLY))""",
    "processes: waiting for the harness and its children": """
libc.prctl(36, 1, 0, 0, 0)
for pid in {PID, os.getppid()} if PID > 40 else {PID}:
    attempt("waitpid", lambda: os.waitpid(pid, os.WNOHANG))
    attempt("waitid", lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG))
attempt("any child", lambda: os.waitpid(-1, os.WNOHANG))""",
    "processes: a timer for somebody else": NUMBERS
    + """
event = (ctypes.c_int * 16)(0, 0, 10, 4, PID)
attempt("timer", lambda: call(number(222, 107), 1, ctypes.byref(event), ctypes.byref(ctypes.c_int())))""",
    "processes: first of all real-time ones": NUMBERS
    + """
attempt("FIFO", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10)))
attempt("round robin", lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1)))
attempt("nice", lambda: os.nice(-5))
deadline = ctypes.create_string_buffer(b"\\x30\\0\\0\\0\\6" + bytes(43))
attempt("deadline", lambda: call(number(314, 274), 0, deadline, 0))
attempt("killed last", lambda: put("/proc/self/oom_score_adj", b"-900"))""",
    "files: up and out of the working folder": NUMBERS
    + """
for way in ("../../../..", "/proc/self/cwd/../../../..", "/proc/self/root", "/proc/thread-self/root"):
    attempt("read " + way, lambda: open(way + FILE).read())
os.symlink("/", "top")
os.symlink("../" * 20, "up")
for way in ("top", "up"):
    attempt("link " + way, lambda: open(way + FILE).read())
    attempt("write by " + way, lambda: open(way + FOLDER + "/x", "w"))
attempt("move the folder", lambda: os.rename(os.getcwd(), FOLDER + "/moved"))
attempt("link to a folder", lambda: os.link(FOLDER, "linked"))
attempt("exchange", lambda: call(316 if X86 else 276, -100, b"top", -100, FILE.encode(), 2))""",
    "files: sockets of the system": """
for path in ("/dev/log", "/run/systemd/journal/stdout", "/run/systemd/notify", "/tmp/.X11-unix/X0",
             "/run/dbus/system_bus_socket", "/run/containerd/containerd.sock", "/run/podman/podman.sock",
             "/run/nvidia-persistenced/socket", "/run/nscd/socket"):
    attempt(path, lambda: socket.socket(socket.AF_UNIX).connect(path))
    attempt("stat " + path, lambda: open(path))""",
    "files: flags and clones of what may only be read": """
import fcntl
for path in (sys.executable, os.__file__):
    descriptor = os.open(path, os.O_RDONLY)
    for name, request, given in (("immutable", 0x40086602, b"\\x10" + bytes(7)), ("version", 0x40087602, bytes(8)),
                                 ("freeze", 0xC0045877, bytes(4)), ("label", 0x41009432, bytes(256))):
        attempt(f"{name} {path}", lambda: fcntl.ioctl(descriptor, request, given))
    attempt("allocate " + path, lambda: os.posix_fallocate(descriptor, 0, 1 << 30))
    attempt("write map " + path, lambda: mmap.mmap(descriptor, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE))
    attempt("by its descriptor " + path, lambda: os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR))""",
    "files: settings of one's own process in the kernel": """
for name, value in (("loginuid", b"0"), ("oom_adj", b"-17"), ("uid_map", b"0 0 1"), ("gid_map", b"0 0 1"),
                    ("make-it-fail", b"1"), ("fail-nth", b"1")):
    attempt(name, lambda: put("/proc/self/" + name, value))""",
}

# What a program does to itself or its surroundings: the text, and the ends that may come of it.
SURVIVED: dict[str, tuple[str, set[str]]] = {
    "a chain of programs that start themselves": (
        "import os, sys\nos.execv(sys.executable, [sys.executable, '-S', '-c', 'import os, sys\\n' + "
        "'os.execv(sys.executable, sys.orig_argv)'])",
        {"time_limit"},
    ),
    "zombies": (
        "import os, time\n"
        "for n in range(4000):\n try:\n  if os.fork() == 0: os._exit(0)\n except OSError: time.sleep(.01)",
        {"exit", "time_limit"},
    ),
    "a fork bomb whose parents end": (
        "import os\nwhile True:\n try:\n  if os.fork(): os._exit(0)\n  os.setsid()\n except OSError: pass",
        {"exit", "time_limit", "runtime_error"},
    ),
    "names of every kind": (
        "import os\n"
        "for n in (b'\\xff\\xfe', b'a\\nb', b'x' * 255, b'-rf', b' ', b'\\x1b[2J', '\\u202e'.encode(), b'*'):\n"
        " open(n, 'w').close(); os.mkdir(n + b'd' if len(n) < 250 else b'd')\nprint('done')",
        {"exit"},
    ),
    "a folder that nobody may enter": (
        "import os\nos.makedirs('a/b/c'); open('a/b/c/f', 'w').close()\nos.chmod('a/b/c', 0); os.chmod('a/b', 0); "
        "os.chmod('a', 0)",
        {"exit", "runtime_error"},
    ),
    "pipes and sockets as files": (
        "import os, socket\nos.mkfifo('pipe')\ntry: socket.socket(socket.AF_UNIX).bind('sock')\nexcept OSError: pass",
        {"exit"},
    ),
    "a sparse file of an exabyte": (
        "import os\ntry: os.truncate(os.open('big', os.O_CREAT | os.O_WRONLY), 1 << 60)\nexcept OSError: pass",
        {"exit", "runtime_error", "output_limit"},
    ),
    "attributes without end": (
        "import os\nopen('f', 'w').close()\nn = 0\ntry:\n"
        " while n < 10**6: os.setxattr('f', f'user.{n}', b'x' * 60000); n += 1\n"
        "except OSError: pass\nprint(n * 60000)",
        {"exit", "memory_limit", "output_limit"},
    ),
    "a name for every byte of the working folder": (
        "import os\nwhile True:\n os.mkdir('x' * 200); os.chdir('x' * 200)",
        {"runtime_error", "output_limit", "time_limit"},
    ),
    "folders in folders": (
        "import os\nwhile True:\n os.mkdir('d'); os.chdir('d')",
        {"runtime_error", "output_limit", "time_limit"},
    ),
    "an output of nothing but zeros, escapes and broken text": (
        "import os\nos.write(1, bytes(range(256)) * 20); os.write(2, b'\\xff' * 500)",
        {"exit"},
    ),
    "the end of others imitated: killed": ("import os\nos.kill(os.getpid(), 9)", {"runtime_error"}),
    "the end of others imitated: out of time": (
        "import os, signal\nsignal.signal(signal.SIGXCPU, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGXCPU)",
        {"runtime_error", "time_limit"},
    ),
    "the end of others imitated: a forbidden call": ("import os\nos.kill(os.getpid(), 31)", {"runtime_error"}),
    "the harness's own words": (
        "import os\nfor line in (b'imported', b'{\"ready\": true, \"status\": 0, \"cpu_s\": 0}', b'ready'):\n"
        " for number in range(3, 300):\n  try: os.write(number, line)\n  except OSError: pass\nos._exit(3)",
        {"runtime_error"},
    ),
    "a stack without an end": (
        "import sys, threading\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
        {"runtime_error", "memory_limit", "time_limit"},
    ),
    "threads that outlive the program": (
        "import threading, time\nthreading.Thread(target=lambda: time.sleep(60)).start()",
        {"time_limit"},
    ),
    "a program that stops its parent": (
        "import os, signal\nfor pid in (os.getppid(), 1):\n for number in (19, 20, 9, 15):\n"
        "  try: os.kill(pid, number)\n  except OSError: pass",
        {"exit", "runtime_error", "time_limit"},
    ),
    "timers without an end": (
        "import ctypes, os\nlibc = ctypes.CDLL(None)\nfor n in range(10**5):\n"
        " if libc.timer_create(1, None, ctypes.byref(ctypes.c_void_p())): break",
        {"exit", "time_limit", "runtime_error"},
    ),
    "watches without an end": (
        "import ctypes, os\nlibc = ctypes.CDLL(None)\nheld = []\nwhile len(held) < 10**5:\n d = libc.inotify_init()\n"
        " if d < 0: break\n held.append(d)\nprint(len(held))",
        {"exit"},
    ),
    "all the descriptors": (
        "import os\nheld = []\ntry:\n"
        " while True: held.append(os.open('/dev/null', 0))\nexcept OSError: print(len(held))",
        {"exit"},
    ),
    "locks on what others read": (
        "import fcntl, os, sys\nfor path in (sys.executable, os.__file__):\n d = os.open(path, os.O_RDONLY)\n"
        " fcntl.flock(d, fcntl.LOCK_EX | fcntl.LOCK_NB)\nprint('held')",
        {"exit", "runtime_error"},
    ),
    "memory of a thread whose first thread has ended": (
        "import ctypes, os, platform, threading, time\ndef grow():\n time.sleep(0.3)\n held = []\n"
        " for _ in range(900): held.append(bytearray(b'x' * (1 << 20)))\n os._exit(0)\n"
        "threading.Thread(target=grow).start()\n"
        "ctypes.CDLL(None).syscall(60 if platform.machine() == 'x86_64' else 93, 0)",
        {"memory_limit"},
    ),
    "sockets beside a process that nobody waited for": (
        "import array, os, socket, time\nif os.fork() == 0: os._exit(0)\ncarrier = socket.socketpair()\n"
        "try:\n for _ in range(200):\n  pair = socket.socketpair()\n  for one in pair:\n   one.setblocking(False)\n"
        "   try:\n    while True: one.send(bytes(65536))\n   except OSError: pass\n"
        "  rights = array.array('i', [one.fileno() for one in pair])\n"
        "  carrier[0].sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])\n"
        "  for one in pair: one.close()\nexcept OSError: pass\nprint('all', flush=True)\ntime.sleep(1)",
        {"memory_limit", "exit"},  # bounded by Linux where sockets under way are not counted
    ),
    "mappings without end": (
        "import ctypes, os, time\nlibc = ctypes.CDLL(None)\nlibc.mmap.restype = ctypes.c_void_p\nfor _ in range(15):\n"
        " if os.fork() == 0:\n  at = libc.mmap(None, ctypes.c_size_t(30_000 * 8192), 0, 0x4022, -1, 0)\n"
        "  for n in range(30_000): libc.mprotect(ctypes.c_void_p(at + n * 8192), ctypes.c_size_t(4096), 1)\n"
        "  time.sleep(60)\ntime.sleep(60)",
        {"memory_limit", "time_limit"},
    ),
    "deleted files that stay open": (
        "import os, time\nheld = []\nfor n in range(200):\n held.append(os.open(f'f{n}', os.O_RDWR | os.O_CREAT))\n"
        " os.unlink(f'f{n}')\n for _ in range(7): os.write(held[-1], b'x' * (1 << 20))\nprint('all')\ntime.sleep(9)",
        {"output_limit", "runtime_error"},
    ),
    "files that never had a name": (
        "import os, time\nheld = []\nfor n in range(200):\n held.append(os.open('.', os.O_RDWR | os.O_TMPFILE))\n"
        " for _ in range(7): os.write(held[-1], b'x' * (1 << 20))\nprint('all')\ntime.sleep(9)",
        {"output_limit", "runtime_error"},
    ),
    "deleted files that are only mapped": (
        "import mmap, os, time\nheld = []\nfor n in range(200):\n d = os.open(f'f{n}', os.O_RDWR | os.O_CREAT)\n"
        " os.unlink(f'f{n}'); os.write(d, b'x' * (7 << 20)); held.append(mmap.mmap(d, 4096)); os.close(d)\n"
        "time.sleep(9)",
        {"output_limit", "runtime_error"},
    ),
    "deleted files of a process that hides": (
        "import ctypes, os, time\nctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\nheld = []\nfor n in range(200):\n"
        " held.append(os.open(f'f{n}', os.O_RDWR | os.O_CREAT)); os.unlink(f'f{n}')\n"
        " os.write(held[-1], b'x' * (7 << 20))\n"
        "time.sleep(9)",
        {"output_limit", "runtime_error"},
    ),
    "timers of the kernel's own": (
        "import ctypes, platform\nlibc, made = ctypes.CDLL(None), 0\n"
        "number = 222 if platform.machine() == 'x86_64' else 107\n"
        "while libc.syscall(number, 1, None, ctypes.byref(ctypes.c_int())) == 0: made += 1\nassert made < 2000, made",
        {"exit"},
    ),
    "signals that wait": (
        "import ctypes, os, signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [40])\nlibc, sent = ctypes.CDLL(None), 0\n"
        "while libc.sigqueue(os.getpid(), 40, ctypes.c_void_p(0)) == 0: sent += 1\nassert sent < 2000, sent",
        {"exit"},
    ),
    "a page of every table": (
        "import ctypes, os, time\nlibc = ctypes.CDLL(None)\nlibc.mmap.restype = ctypes.c_void_p\nfor _ in range(20):\n"
        " if os.fork() == 0:\n  at = libc.mmap(None, ctypes.c_size_t(3 << 30), 1, 0x4022, -1, 0)\n"
        "  for n in range(0, 3 << 30, 2 << 20): ctypes.string_at(at + n, 1)\n  time.sleep(60)\ntime.sleep(1)",
        {"exit", "memory_limit", "time_limit", "runtime_error"},
    ),
    "the working folder taken away": (
        "import os, shutil\nhere = os.getcwd()\nos.chdir('/')\nshutil.rmtree(here, ignore_errors=True)\nprint('gone')",
        {"exit", "runtime_error"},
    ),
    "an exit function that never ends": (
        "import atexit, time\natexit.register(lambda: time.sleep(60))",
        {"time_limit"},
    ),
    "an exit that is caught": (
        "import os, sys\nos._exit = sys.exit = lambda *a: None\n"
        "while True:\n try: raise SystemExit\n except SystemExit: pass",
        {"time_limit"},
    ),
    "output from a hundred ends": (
        "import os\nfor _ in range(100):\n if os.fork() == 0:\n  while True: os.write(1, b'x' * 65536)",
        {"output_limit", "runtime_error"},
    ),
    "the clock of its own": (
        "import time\ntime.monotonic = time.time = time.process_time = lambda: 0.0\nwhile time.time() < 1: pass",
        {"time_limit"},
    ),
}

# They do what they do at once and then wait to be stopped: three seconds show as much of them as eight.
WAITING = ("zombies", "threads that outlive the program", "an exit function that never ends")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The harness's own process, servers and files, as the head of a program; nothing of it may be reached."""
    folder = tmp_path_factory.mktemp("harness")
    (folder / "secret").write_text(MARK)
    (folder / "secret").chmod(0o644)
    abstract = f"bitparity-{secrets.token_hex(4)}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as unix:
        unix.bind("\0" + abstract)
        unix.listen()
        names = {"PID": os.getpid(), "PORT": server.getsockname()[1], "ABSTRACT": abstract}
        names |= {"FILE": str(folder / "secret"), "FOLDER": str(folder)}
        names |= {"MARK_HALF": MARK[:16], "MARK_REST": MARK[:15:-1]}
        yield "".join(f"{name} = {value!r}\n" for name, value in names.items())
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("name", REACHES)
def test_it_reaches_nothing(way: Way, own: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", MARK)
    got: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: got.append(number))
    try:
        if "harness knows" in name:
            way(f"EARLIER = {MARK!r}\nprint(len(EARLIER))", MARK.encode())
        for _ in range(2 if "by name" in name else 1):
            assert reached(way(PRELUDE + own + REACHES[name].replace("KEPT", MARK[:8]) + REPORT)) == []
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert got == []


@pytest.mark.parametrize("name", SURVIVED)
def test_it_harms_nobody_else(way: Way, name: str) -> None:
    code, ends = SURVIVED[name]
    ended = way(code, cpu_s=2.0) if name in WAITING else way(code)
    assert ended.end in ends, (ended.end, ended.status, ended.stderr[-500:])
