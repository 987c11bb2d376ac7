"""Process of a warm worker inside the sandbox: imports once, then forks a confined process for each script.

Started as `python _zygote.py CONTROL_FD MODULE...` by `warm.py`; standard library only. A request is one message on
the control socket with four descriptors: the request itself (JSON) and the script's three standard streams. The reply
is a descriptor of the script's first process, and at its end a JSON message.

For each script a process is cloned into new user, PID, mount and IPC namespaces. It mounts a fresh writable file system
and /proc, gives up every right, installs the seccomp filter and forks the process that runs the script. That one can
name neither the worker nor earlier or later scripts; when the first process ends, the kernel ends all in its namespace.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import platform
import resource
import select
import signal
import socket
import sys
import threading
import traceback
import types
from base64 import b64decode
from typing import Any

_CLONE = {"x86_64": 56, "aarch64": 220}
_NEW_USER, _NEW_PID, _NEW_MOUNT, _NEW_IPC = 0x10000000, 0x20000000, 0x00020000, 0x08000000
_NO_SUID, _NO_DEV, _NO_EXEC, _RECURSIVE, _PRIVATE = 2, 4, 8, 16384, 1 << 18
_SET_PARENT_DEATH_SIGNAL, _SET_DUMPABLE, _SET_SECCOMP, _DROP_BOUND, _NO_NEW_PRIVILEGES = 1, 4, 22, 24, 38
_CAPABILITIES_V3 = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: two words of 32 bits for each of three sets
# keeps the interpreter's lock in a call: a thread that took it would not be in the clone
_LIBC = ctypes.PyDLL(None, use_errno=True)
_CONTROL = 3  # the control socket, wherever it was opened: many descriptors may be open in the parent
_STARTED, _READY = b"started", b"ready"


class Filter(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_char_p))


def _check(result: int, what: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


def _mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    result = _LIBC.mount(source.encode(), target.encode(), kind and kind.encode(), flags, data.encode())
    _check(result, f"mount on {target}")


def serve(control: socket.socket) -> None:
    """Answers requests until the other side is gone."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 16, 4)
        if not message:
            return
        told, tell = os.pipe()
        # or a collection in the child would touch, and so copy, every page
        gc.freeze()
        pid = _clone()
        if pid == 0:
            os.close(told)
            _first_process(descriptors, tell)
        os.close(tell)
        for descriptor in descriptors:
            os.close(descriptor)
        ended = os.pidfd_open(pid)
        socket.send_fds(control, [_STARTED], [ended])
        # if the other side goes away, everything ends
        waiting = select.poll()
        waiting.register(ended, select.POLLIN)
        waiting.register(control, select.POLLRDHUP)
        if any(descriptor == control.fileno() for descriptor, _ in waiting.poll()):
            os._exit(0)
        _, status, usage = os.wait4(pid, 0)
        os.close(ended)
        said = os.read(told, 4096)
        os.close(told)
        answer = {
            "ready": said == _READY,
            "error": "" if said == _READY else said.decode(errors="replace"),
            "status": os.waitstatus_to_exitcode(status),
            "cpu_s": usage.ru_utime + usage.ru_stime,
        }
        control.send(json.dumps(answer).encode())


def _clone() -> int:
    """A fork into new namespaces. The C library is not told, so the child only prepares and forks again."""
    number, flags = _CLONE[platform.machine()], _NEW_USER | _NEW_PID | _NEW_MOUNT | _NEW_IPC | signal.SIGCHLD
    # stack, places for ids, thread's storage: with zeros the child goes on with copies of its parent's
    zeros = [ctypes.c_long(0)] * 4
    return _check(_LIBC.syscall(ctypes.c_long(number), ctypes.c_long(flags), *zeros), "clone")


def _first_process(descriptors: list[int], tell: int) -> None:
    """Prepares the namespaces, starts the script, waits for it and for orphans. Never returns."""
    try:
        _check(_LIBC.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0), "prctl")
        request, *streams = descriptors
        with open(request, "rb") as file:  # noqa: PTH123
            asked = json.load(file)
        for wanted, descriptor in enumerate(streams):
            os.dup2(descriptor, wanted)
        os.dup2(tell, _CONTROL)  # takes the place of the control socket, which no script may reach
        tell = _CONTROL
        highest = max(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208
        os.closerange(_CONTROL + 1, highest + 1)
        _prepare(asked)
        script = os.fork()
        if script == 0:
            _run(asked)
    except BaseException as error:
        os.write(tell, f"the warm worker could not confine a script: {error!r}".encode()[:4000])
        os._exit(125)
    os.close(tell)  # the script holds the other copy until it begins
    while True:
        pid, status = os.wait()
        if pid == script:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _prepare(asked: dict[str, Any]) -> None:
    """Sets up namespaces and file system, then gives up every right and every dangerous system call."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{_USER} {_USER} 1"), ("gid_map", f"{_GROUP} {_GROUP} 1")):
        with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123
            file.write(text)
    _mount("none", "/", None, _RECURSIVE | _PRIVATE)  # or the worker would see what is mounted here
    _mount("proc", "/proc", "proc", _NO_SUID | _NO_DEV | _NO_EXEC)
    box = asked["box"]
    size = f"mode=755,size={asked['file_bytes']},nr_inodes={asked['inodes']}"
    _mount("tmpfs", box, "tmpfs", _NO_SUID | _NO_DEV, size)
    for folder in ("work", "tmp", "shm"):
        os.mkdir(f"{box}/{folder}")  # noqa: PTH102
    os.chdir(f"{box}/work")
    for name, content in asked["files"].items():
        if (folder := os.path.dirname(name)) != "":  # noqa: PTH120
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        with open(name, "wb") as file:  # noqa: PTH123
            file.write(b64decode(content))
    _give_up_rights(b64decode(asked["filter"]))


def _give_up_rights(program: bytes) -> None:
    for capability in range(64):
        if _LIBC.prctl(_DROP_BOUND, capability, 0, 0, 0) != 0:
            break  # the last one that this kernel knows is behind us
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
    _check(_LIBC.capset(header, (ctypes.c_uint32 * 6)()), "capset")
    _check(_LIBC.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl")
    _check(_LIBC.prctl(_SET_DUMPABLE, 0, 0, 0, 0), "prctl")  # the script cannot reach into its parent's memory
    if program:
        filtered = Filter(len(program) // 8, program)
        _check(_LIBC.prctl(_SET_SECCOMP, 2, ctypes.byref(filtered), 0, 0), "seccomp")


def _run(asked: dict[str, Any]) -> None:
    """The script's own process, as near to a fresh interpreter as a fork can be. Never returns."""
    _LIBC.prctl(_SET_DUMPABLE, 1, 0, 0, 0)
    os.setsid()  # a signal to its process group must not reach the worker's
    for kind, soft, hard in asked["rlimits"]:
        resource.setrlimit(kind, (soft, hard))
    os.write(_CONTROL, _READY)
    os.close(_CONTROL)
    name = asked["script"]
    sys.argv[:] = [name]
    sys.path[0:0] = [f"{asked['box']}/work"]
    sys.stdin, sys.stdout, sys.stderr = _stream(0, "r"), _stream(1, "w"), _stream(2, "w")
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=name, __builtins__=__builtins__)
    sys.modules["__main__"] = main
    code = 1
    try:
        with open(name, "rb") as file:  # noqa: PTH123
            compiled = compile(file.read(), name, "exec")
        exec(compiled, main.__dict__)
        code = 0
    except SystemExit as error:
        code = _exit_code(error.code)
    except BaseException as error:
        here = error.__traceback__
        traceback.print_exception(type(error), error, here and here.tb_next)
    finally:
        _finish(code)


def _finish(code: int) -> None:
    """End the process as an interpreter ends: wait for threads, call exit functions, write what is buffered."""
    try:
        # in the interpreter's own order: threads may still register exit functions, and these may still write
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(ValueError):
                stream.flush()
    except BaseException:  # an interpreter whose ending fails exits with 120
        code = code or 120
    finally:
        os._exit(code)


def _exit_code(code: object) -> int:
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    print(code, file=sys.stderr)
    return 1


def _stream(descriptor: int, mode: str) -> Any:
    buffering, errors = (1, "backslashreplace") if descriptor == 2 else (-1, "strict")
    return open(descriptor, mode, buffering, "utf-8", errors, closefd=False)


_USER, _GROUP = os.getuid(), os.getgid()


def main() -> None:
    """Import the modules that the command line names, then serve."""
    del sys.path[0]  # this file's folder, which no script shall import from
    given = int(sys.argv[1])
    if given != _CONTROL:
        os.dup2(given, _CONTROL)
        os.close(given)
    control = socket.socket(fileno=_CONTROL)
    control.set_inheritable(False)
    for module in sys.argv[2:]:
        importlib.import_module(module)
    control.send(b"imported")
    serve(control)


if __name__ == "__main__":
    main()
