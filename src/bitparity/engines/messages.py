"""Messages between bitparity and an engine's process: one JSON line each, over a socket of their own.

A message is a JSON array whose first element names it:

```
host -> worker   ["variant", {...}]      get ready to load this; no device is touched
                 ["load"]                load it
                 ["request", ...]        one request, fields in the order of `Request`
                 ["end"]                 no more requests in this run
                 ["close"]               free what you hold and exit
worker -> host   ["ready", facts]        loaded
                 ["sample", ...]         fields in the order of `Sample`
                 ["sent", name, {...}]   sampling values of the first request of the benchmark `name`
                 ["alive", count]        how much the engine has computed, null: unknown
                 ["done"]                every request of the run is answered
                 ["failed", kind, text]  the worker gives up; `kind` is a class of bitparity.errors
```
Fields go by position: names would be half of the bytes of a short answer. JSON is ASCII, so any text
passes unchanged, lone surrogates included; NaN and infinities pass as Python writes them.
"""

from __future__ import annotations

import json
import socket
from dataclasses import fields
from operator import attrgetter
from typing import Any

from bitparity.records import Message, Reading, Request, Sample, Sampling, Unrendered

CHUNK = 1 << 20  # bytes read at a time

_getters = {
    kind: attrgetter(*(f.name for f in fields(kind))) for kind in (Reading, Request, Sample, Sampling, Unrendered)
}


def values_of(record: Reading | Request | Sample | Sampling | Unrendered) -> tuple[object, ...]:
    """The fields of a record in their order; those that are records themselves are turned the same way by JSON."""
    return _getters[type(record)](record)


_encoder = json.JSONEncoder(separators=(",", ":"), default=values_of)


def encode(*message: object) -> bytes:
    """One message as a line."""
    return _encoder.encode(message).encode("ascii") + b"\n"


def decode_request(message: list[Any]) -> Request:
    """The request of a decoded message."""
    _, benchmark, item, sample, sampling, seed, token_ids, scored, reasoning_end, batch, unrendered, reading = message
    *values, stop = sampling
    return Request(
        *(benchmark, item, sample, Sampling(*(*values, tuple(stop))), seed),
        None if token_ids is None else tuple(token_ids),
        None if scored is None else tuple((tuple(context), tuple(continuation)) for context, continuation in scored),
        *(reasoning_end, batch),
        None if unrendered is None else _unrendered(*unrendered),
        None if reading is None else Reading(*reading),
    )


def _unrendered(chat: list[Message] | None, *rest: Any) -> Unrendered:
    return Unrendered(None if chat is None else tuple(chat), *rest)


def decode_sample(message: list[Any]) -> Sample:
    """The sample of a decoded message."""
    *values, logprobs, error, served_model, arrays = message[1:]
    pairs = None if logprobs is None else tuple((total, greedy) for total, greedy in logprobs)
    return Sample(*(*values, pairs, error, served_model, arrays))


class Lines:
    """Reads messages from a socket; keeps the part of a line that has not come whole."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = b""

    def receive(self, flags: int = 0) -> list[list[Any]] | None:
        """The messages of one read, perhaps none; None where the other side has gone.

        Raises BlockingIOError where `flags` has MSG_DONTWAIT and nothing is there.
        """
        try:
            data = self._connection.recv(CHUNK, flags)
        except ConnectionError:
            return None
        if not data:
            return None
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in whole]
