"""Seccomp filter: the system calls that model-written code may not make, as a classic BPF program.

The namespaces already confine a program; the filter refuses the calls that an escape would need (new namespaces,
mounts, tracing, keys, BPF, io_uring, old and rare calls), those that show what others do with files (inotify, dnotify,
leases) or have the kernel signal whoever owns a descriptor, and those that hold memory which no limit sees (memfd,
anonymous shared mappings, pages given to a pipe, rules of Landlock, System V shared memory and messages, larger buffers
of sockets and pipes). The calls are in `seccomp_calls.csv`, with their
numbers from Linux's `arch/x86/entry/syscalls/syscall_64.tbl` and `include/uapi/asm-generic/unistd.h`.
"""

from __future__ import annotations

import csv
import errno
import platform
import struct
from importlib import resources

_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_ANY_BIT = 0x15, 0x35, 0x45  # BPF_JMP | BPF_JEQ (JGE, JSET) | BPF_K
_RETURN = 0x06

_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
_X32_BIT = 0x40000000
_NEWEST_KNOWN = 470  # calls that came later than this file do not exist for the program

# mount, cgroup, uts, ipc, user, pid, net and time namespaces
_NEW_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x80
_TERMINAL_INPUT, _TERMINAL_PASTE = 0x5412, 0x541C  # TIOCSTI, TIOCLINUX
_AF_UNIX = 1
_STREAMS = (0x1, 0x801, 0x80001, 0x80801)  # SOCK_STREAM, with SOCK_NONBLOCK and SOCK_CLOEXEC or without
_SEND_BUFFER, _RECEIVE_BUFFER = 7, 8  # SO_SNDBUF, SO_RCVBUF
# F_SETPIPE_SZ; F_SETOWN, F_SETSIG and F_SETOWN_EX, F_SETLEASE, F_NOTIFY
_DESCRIPTOR_COMMANDS = (1031, 8, 10, 15, 1024, 1026)
_OWNERS = (0x8901, 0x8902)  # FIOSETOWN, SIOCSPGRP
_MAP_SHARED, _MAP_ANONYMOUS = 0x01, 0x20
_SET_PARENT_DEATH_SIGNAL = 1
_PERSONALITY_QUERY = 0xFFFFFFFF

_ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def supported() -> bool:
    """True if there is a filter for this machine's architecture."""
    return platform.machine() in _ARCHES


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    # struct sock_filter: the jumps are counted in instructions, from the next one on
    return struct.pack("=HBBI", code, if_true, if_false, value & 0xFFFFFFFF)


def _refuse(error: int) -> bytes:
    return _instruction(_RETURN, _ERRNO | error)


def _argument(index: int) -> bytes:
    """Loads the low half of an argument; both supported architectures are little-endian."""
    return _instruction(_LOAD, _ARGUMENTS_AT + 8 * index)


def _when(number: int, body: bytes) -> bytes:
    """Runs `body`, which must return, for one system call; others go on behind it."""
    return _instruction(_JUMP_EQUAL, number, 0, len(body) // 8) + body


def _switch(argument: int, values: tuple[int, ...], then: bytes, otherwise: bytes) -> bytes:
    """Runs `then` for a call whose argument is one of `values`, `otherwise` for others; `then` is one instruction."""
    found = b"".join(_instruction(_JUMP_EQUAL, value, 0, 1) + then for value in values)
    return _argument(argument) + found + otherwise


def _streams(families: tuple[int, ...]) -> bytes:
    """Allows sockets of these families that are streams. A datagram socket holds what closed ones have sent to it."""
    other_family, allow = _refuse(errno.EAFNOSUPPORT), _instruction(_RETURN, _ALLOW)
    known = b"".join(_instruction(_JUMP_EQUAL, f, len(families) - n, 0) for n, f in enumerate(families))
    return _argument(0) + known + other_family + _switch(1, _STREAMS, allow, _refuse(errno.ESOCKTNOSUPPORT))


def _calls(group: str, machine: str) -> dict[str, int]:
    """Name and number of the calls of a group that a machine has.

    Groups: `blocked` for every program; `checked` by their arguments; `listening` of sockets; without namespaces also
    `signalling`, which reach the host's processes, and `attributes` of files that may only be read, which Landlock
    does not guard.
    """
    table = (resources.files(__package__) / "seccomp_calls.csv").read_text(encoding="ascii").splitlines()
    return {row["name"]: int(row[machine]) for row in csv.DictReader(table) if row["group"] == group and row[machine]}


def program(own_pid: int | None = None, machine: str | None = None, listening: bool = True) -> bytes:
    """The filter as an array of `struct sock_filter`.

    Args:
        own_pid: where there are no namespaces, the only process that the program may signal (itself); its sockets,
            priorities and files' attributes are then refused too, since they would be the host's.
        machine: architecture, by default this machine's; one of `x86_64` and `aarch64`.
        listening: a socket may wait for others to connect. Connections that wait hold memory, which can only be
            counted where the network is the program's own.
    """
    machine = machine or platform.machine()
    # the architecture first: the same number is another call in the 32-bit calls that x86_64 offers too
    code = _instruction(_LOAD, _ARCH_AT) + _instruction(_JUMP_EQUAL, _ARCHES[machine], 1, 0)
    code += _instruction(_RETURN, _KILL_PROCESS) + _instruction(_LOAD, _NUMBER_AT)
    # the x32 calls of x86_64 would bypass every number below; calls newer than this file are unknown to it
    code += _instruction(_JUMP_GREATER_EQUAL, _X32_BIT, 0, 1) + _instruction(_RETURN, _KILL_PROCESS)
    code += _instruction(_JUMP_GREATER_EQUAL, _NEWEST_KNOWN, 0, 1) + _refuse(errno.ENOSYS)
    groups = ["blocked", "checked", *(() if listening else ("listening",))]
    # without namespaces a program's own Unix sockets could reach those of the host
    bodies = _bodies(() if own_pid is not None else (_AF_UNIX,))
    if own_pid is not None:
        groups += ["signalling", "attributes"]
        to_itself = _switch(0, (own_pid,), _instruction(_RETURN, _ALLOW), _refuse(errno.EPERM))
        bodies |= dict.fromkeys(("kill", "tgkill"), to_itself)
    for group in groups:
        for name, number in _calls(group, machine).items():
            code += _when(number, bodies.get(name, _refuse(errno.EPERM)))
    return code + _instruction(_RETURN, _ALLOW)


def _bodies(families: tuple[int, ...]) -> dict[str, bytes]:
    """The instructions for each call that is not simply refused; sockets only of these `families`."""
    refuse, allow = _refuse(errno.EPERM), _instruction(_RETURN, _ALLOW)
    return {
        # the C library and Python fall back to a file where it does not exist
        "memfd_create": _refuse(errno.ENOSYS),
        "fcntl": _switch(1, _DESCRIPTOR_COMMANDS, refuse, allow),
        # a library asks for larger buffers and works without them
        "setsockopt": _switch(2, (_SEND_BUFFER, _RECEIVE_BUFFER), _refuse(0), allow),
        "clone": _argument(0) + _instruction(_JUMP_ANY_BIT, _NEW_NAMESPACES & ~0xFF, 0, 1) + refuse + allow,
        # its flags are in memory, where a filter cannot read; the C library falls back to clone
        "clone3": _refuse(errno.ENOSYS),
        "socket": _streams(families),
        "socketpair": _streams((_AF_UNIX,)),
        "personality": _switch(0, (0, _PERSONALITY_QUERY), allow, refuse),
        "prlimit64": _switch(0, (0,), allow, refuse),
        "prctl": _switch(0, (_SET_PARENT_DEATH_SIGNAL,), refuse, allow),
        "ioctl": _switch(1, (_TERMINAL_INPUT, _TERMINAL_PASTE, *_OWNERS), refuse, allow),
        # a child fills such a mapping and ends: what it wrote is then in no process's resident memory
        "mmap": _argument(3)
        + _instruction(_JUMP_ANY_BIT, _MAP_SHARED, 0, 2)
        + _instruction(_JUMP_ANY_BIT, _MAP_ANONYMOUS, 0, 1)
        + refuse
        + allow,
    }
