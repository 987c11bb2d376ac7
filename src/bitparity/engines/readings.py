"""Numbers by token that engines give for a `Reading`, packed as text for the way between processes.

`ids` and `logprobs` (positions, top): the model's likeliest tokens, the likeliest first; `chosen` (positions,): the
log-probability of the answer's own token, in nats. An engine that compared with the baseline over the whole vocabulary
gives the baseline's as `base_ids`, `base_logprobs` and `base_chosen` too, and `divergence` (positions,), in nats.

Where the request has `drawn`, an engine that can also tells `drawn_ids` and `drawn` (positions, drawn): tokens drawn
from the model's own distribution outside `ids`, and their log-probabilities; and `rest` (positions,): the logarithm of
all mass outside. Of a request that names another model's tokens it tells `ids` and `logprobs` of its own likeliest
token alone, and `named` (positions, top + drawn) and `rest`: the same numbers of the other model's tokens.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitparity.records import Request, Sample, request_key

Arrays = dict[str, NDArray[Any]]

TOP = 20  # likeliest tokens told where a study names no number
TOP_MOST = 256
DRAWN = 4  # tokens drawn at each position outside the likeliest ones
REST = -1  # the id that stands for all tokens outside


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


@dataclass(frozen=True, slots=True)
class Columns:
    """The tokens to be told of at the positions of one answer, as columns of ids and log-probabilities.

    With `points` (positions, drawn), numbers from 0 to 1 that decide the draws: the `top` likeliest tokens, the drawn
    ones, the rest. With `named` (positions, top + drawn): the likeliest token, the named ones, the rest outside the
    first `top` of these. The rest has the id REST.
    """

    top: int
    points: NDArray[np.float64] | None = None
    named: NDArray[np.int32] | None = None

    @property
    def width(self) -> int:
        """The number of columns."""
        count = sum(int(each.shape[1]) for each in (self.points, self.named) if each is not None)
        return 1 + count + (1 if self.points is None else self.top)


def columns_of(request: Request) -> Columns | None:
    """The columns that a request for a reading asks for; None where it asks for the likeliest tokens alone.

    An answer's points depend on its tokens alone, so a repeat draws the same. They are stratified: one in each of
    `drawn` equal parts, in which a mean over the draws has no bias and a smaller variance.
    """
    wanted = request.reading
    if wanted is None or not (wanted.drawn or wanted.named):
        return None
    context, answer = the_text(request)
    if wanted.named is not None:
        ids = np.frombuffer(base64.b64decode(wanted.named), dtype=np.int32)
        return Columns(wanted.top, named=ids.reshape(len(answer), -1))
    within = np.random.default_rng((*context, *answer)).random((len(answer), wanted.drawn))
    return Columns(wanted.top, points=(np.arange(wanted.drawn) + within) / wanted.drawn)


def named_text(base: Mapping[str, NDArray[Any]]) -> str | None:
    """The tokens that a baseline's reading has told and drawn, as `Reading.named`; None where it has drawn none."""
    if "drawn_ids" not in base:
        return None
    ids = np.concatenate([base["ids"], base["drawn_ids"]], axis=1).astype(np.int32)
    return base64.b64encode(ids.tobytes()).decode("ascii")


def split_columns(
    ids: NDArray[np.int32], logprobs: NDArray[np.float32], chosen: NDArray[np.float32], asked: Columns | None
) -> Arrays:
    """The arrays of this module from columns (positions, width), and from the answer's own tokens' log-probabilities.

    Where an engine has told its likeliest tokens in all columns, for it knows no others, these are the arrays. Raises
    ValueError where it told of other tokens than were asked for.
    """
    replaced = ids[:, -1] == REST
    if asked is None or not replaced.any():
        top = None if asked is None else asked.top
        return {"ids": ids[:, :top], "logprobs": logprobs[:, :top], "chosen": chosen}
    if not replaced.all() or (asked.named is not None and not np.array_equal(ids[:, 1:-1], asked.named)):
        raise ValueError("the engine told of other tokens than were asked for")
    told = {"chosen": chosen, "rest": logprobs[:, -1]}
    if asked.named is not None:
        return {**told, "ids": ids[:, :1], "logprobs": logprobs[:, :1], "named": logprobs[:, 1:-1]}
    top = ids.shape[1] - asked.width + asked.top  # fewer than asked for where the vocabulary has not so many
    drawn = {"drawn_ids": ids[:, top:-1], "drawn": logprobs[:, top:-1]}
    return {**told, **drawn, "ids": ids[:, :top], "logprobs": logprobs[:, :top]}
