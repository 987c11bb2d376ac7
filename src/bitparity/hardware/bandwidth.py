"""Memory bandwidth of a device, which bounds how fast a model writes."""

from __future__ import annotations

import re

from bitparity.hardware.devices import VisibleDevice
from bitparity.safe_io.packaged import packaged_toml

_BANDWIDTH: dict[str, float] = packaged_toml(__package__, "bandwidth.toml")["bandwidth"]


def bandwidth(device: VisibleDevice) -> float | None:
    """Bytes a second of a GPU, or of a MIG slice by its share of the memory; None for one that is not in the table."""
    whole = next((rate for name, rate in _BANDWIDTH.items() if re.search(name, device.gpu.name)), None)
    if whole is None or device.slice is None:
        return None if whole is None else whole * 10**9
    if device.slice.memory is None or not device.gpu.memory:
        return None
    return whole * 10**9 * min(1.0, device.slice.memory / device.gpu.memory)
