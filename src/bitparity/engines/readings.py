"""Numbers by token that engines give for a `Reading`, packed as text for the way between processes.

`ids` and `logprobs` (positions, top): the model's likeliest tokens, the likeliest first; `chosen` (positions,): the
log-probability of the answer's own token, in nats. An engine that compared with the baseline over the whole vocabulary
gives the baseline's as `base_ids`, `base_logprobs` and `base_chosen` too, and `divergence` (positions,), in nats.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitparity.records import Request, Sample, request_key

Arrays = dict[str, NDArray[Any]]

TOP = 20  # likeliest tokens told where a study names no number
TOP_MOST = 256


def pack(arrays: Mapping[str, NDArray[Any]], *, compressed: bool = False) -> bytes:
    """Arrays as the bytes of an .npz document."""
    buffer = io.BytesIO()
    save: Any = np.savez_compressed if compressed else np.savez
    save(buffer, **arrays)
    return buffer.getvalue()


def unpack(content: bytes) -> Arrays:
    """The arrays of an .npz document. Raises ValueError where it is none, and runs nothing that is in it."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (OSError, KeyError, EOFError, TypeError, AttributeError) as error:
        raise ValueError(f"no arrays: {error}") from None
    except Exception as error:  # zipfile.BadZipFile and zlib.error have no common base
        raise ValueError(f"no arrays: {type(error).__name__}: {error}") from None


def reading_sample(request: Request, arrays: Mapping[str, NDArray[Any]], seconds: float) -> Sample:
    """The sample that answers a request for a reading."""
    text = base64.b64encode(pack(arrays)).decode("ascii")
    tokens = sum(len(context) + len(continuation) for context, continuation in request.scored or ())
    return Sample(*request_key(request), "", "stop", 0, tokens, seconds, arrays=text)


def arrays_of(sample: Sample) -> Arrays:
    """The arrays of a sample. Raises ValueError where it has none."""
    if sample.arrays is None:
        raise ValueError("the engine gave no numbers by token")
    return unpack(base64.b64decode(sample.arrays))


def the_text(request: Request) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(context, answer) of a request for a reading: its one scored pair."""
    ((context, answer),) = request.scored or ()
    return context, answer
