"""Sandbox for model-written code, which is hostile by assumption.

`open_sandbox` gives the safest level that works on this machine, after a self-test. What a program wrote is judged by
the caller, outside the sandbox; expected answers never enter it.
"""

from __future__ import annotations

from bitparity.sandbox.contract import Ended, Limits, Sandbox, Verdict
from bitparity.sandbox.gate import rerun_alone
from bitparity.sandbox.levels import open_sandbox
from bitparity.sandbox.warm import WarmWorker

__all__ = ["Ended", "Limits", "Sandbox", "Verdict", "WarmWorker", "open_sandbox", "rerun_alone"]
