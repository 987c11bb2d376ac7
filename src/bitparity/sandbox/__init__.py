"""Sandbox for model-written code, which is hostile by assumption.

`levels.open_sandbox` gives the safest level that works on this machine, after a self-test. The caller judges what a
program wrote, outside the sandbox; expected answers never enter it.
"""
