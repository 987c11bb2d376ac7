"""Choice of the safest sandbox that works on this machine."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

from bitparity.errors import SandboxError
from bitparity.sandbox.bubblewrap import INSTALL, Bubblewrap
from bitparity.sandbox.container import Container
from bitparity.sandbox.contract import Sandbox
from bitparity.sandbox.landlock import Landlock, Unsafe

# the strictest first: the first that passes its self-test is taken
LEVELS: tuple[Callable[[str | None, Sequence[Path]], Sandbox], ...] = (Bubblewrap, Container, Landlock)


def open_sandbox(*, python: str | None = None, readable: Sequence[Path] = (), unsafe: bool = False) -> Sandbox:
    """The safest sandbox that works here, self-tested.

    Args:
        python: the interpreter for programs; by default the one that runs bitparity.
        readable: further folders that programs may read.
        unsafe: where no sandbox works, run programs all the same, with all rights of this user.

    Raises:
        SandboxError: none works; the message says why, and names the package to install.
    """
    if platform.system() != "Linux":
        raise SandboxError("model-written code is run on Linux only: its sandbox is made of Linux's namespaces")
    refusals = []
    for level in (*LEVELS, *((Unsafe,) if unsafe else ())):
        try:
            with contextlib.ExitStack() as stack:
                sandbox: Sandbox = stack.enter_context(level(python, readable))
                sandbox.self_test()
                stack.pop_all()  # it works: the caller closes it
                return sandbox
        except SandboxError as error:
            refusals.append(str(error))
    raise SandboxError(
        f"model-written code cannot be confined here, so none is run. Remedy: {INSTALL}. Tried: " + "; ".join(refusals)
    )
