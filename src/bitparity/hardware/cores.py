"""CPU cores that this process may use."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cores() -> int:
    """The cores that this process may use: its affinity, and the quota of its control group where it has one."""
    cores = len(os.sched_getaffinity(0))
    try:
        # of the group that this process sees as the root: in a container that is its own
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no quota
        return cores
