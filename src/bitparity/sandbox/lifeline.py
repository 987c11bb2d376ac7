"""Process group that is killed when the process that made it ends.

bubblewrap's `--die-with-parent` has a gap: killed after it has made the namespaces and before it has told the process
inside to go on, it leaves that process waiting for ever, and no signal from a file reaches a namespace's first process.
So all bubblewraps of a harness join the group of a shell that waits for the end of a pipe which the harness holds open.
What has left the group by then waits for the harness's answer (`supervise.Pump`) or dies with its bubblewrap.
"""

from __future__ import annotations

import contextlib
import os
import weakref

_WATCH = ("/bin/sh", "-c", "read -r line; kill -s KILL 0")


class Lifeline:
    """A process group that is killed when this object or this process ends, however it ends."""

    def __init__(self) -> None:
        watched, held = os.pipe2(os.O_CLOEXEC)
        try:
            stdin = [(os.POSIX_SPAWN_DUP2, watched, 0)]
            self.group = os.posix_spawn(_WATCH[0], _WATCH, {}, file_actions=stdin, setpgroup=0)
        except OSError:
            os.close(held)
            raise
        finally:
            os.close(watched)
        weakref.finalize(self, _end, self.group, held)


def _end(watch: int, held: int) -> None:
    os.close(held)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(watch, 0)
