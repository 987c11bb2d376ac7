"""Reachability of the Hugging Face hub."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys

from bitparity.errors import install_command

TIMEOUT = 5.0  # seconds for one question
NOT_INSTALLED = "the package huggingface_hub is not installed"


def told_offline() -> bool:
    """True where HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set."""
    flags = (os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return any(flag.upper() in ("1", "ON", "YES", "TRUE") for flag in flags)


def unreachable() -> str | None:
    """The reason why the hub cannot be reached; None where it can.

    One question to its address. A server of one's own (HF_ENDPOINT) may know no page there: 401, 404.
    """
    try:
        import httpx
        from huggingface_hub import constants
    except ImportError:
        return f"{NOT_INSTALLED}: {install_command('hub')}"
    try:
        # HEAD, with the library's own client: it takes the proxies that the library would take
        status = httpx.head(constants.ENDPOINT, timeout=TIMEOUT).status_code
    except Exception as error:  # beside the network's faults, any of a wrong proxy's or endpoint's address
        return f"{constants.ENDPOINT}: {type(error).__name__}"
    refused = status >= 500 or status in (403, 407)  # a gateway's, or a proxy's in between
    return f"{constants.ENDPOINT}: status {status}" if refused else None


@functools.cache
def use_cache_where_unreachable() -> str | None:
    """Let the hub's libraries read their cache alone where the hub does not answer; the reason, None where it does.

    They would try again for half a minute each time. Asked once; the variable holds for engines' processes too.
    """
    if told_offline() or importlib.util.find_spec("huggingface_hub") is None:
        return None
    reason = unreachable()
    if reason is not None:
        os.environ["HF_HUB_OFFLINE"] = "1"
        for name in ("huggingface_hub.constants", "datasets.config"):  # those imported before have read the variable
            if module := sys.modules.get(name):
                module.__dict__["HF_HUB_OFFLINE"] = True
    return reason
