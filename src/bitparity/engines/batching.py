"""Fixed batches for engines whose numbers depend on what is computed together.

In BF16 a row's result depends on its batch: other shapes take other kernels and other orders of
summation. So batches are a pure function of the whole ordered list of requests, never of what happens
to be missing: a resumed run computes exactly what an undisturbed one would have.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import replace

from bitparity.engines.checks import prompt_tokens
from bitparity.records import Request, RequestKey, Sampling, request_key

MAX_PADDED_TOKENS = 65_536  # prompt tokens of one batch, padding included: bounds memory at long prompts

_Group = tuple[float, str, bool, Sampling | None]


def fixed_batches(
    requests: Sequence[Request],
    batch_size: int,
    done: Container[RequestKey],
    *,
    shifted: bool = False,
    part: Callable[[Request], float] = lambda request: 0.0,
) -> list[Request]:
    """The requests to compute, in order, each with its batch's number.

    Requests of one benchmark and sampling are sorted by length (longest first, so that memory fails
    early) and cut into batches of at most `batch_size` rows and MAX_PADDED_TOKENS; a scored request has
    a row for each continuation. A batch is left out where all of it is in `done`, which holds
    (benchmark, item, sample); otherwise it comes whole, its finished members included. With `shifted` the
    first batch of each is half as large, so that a control's items meet other neighbours. No batch has requests of
    more than one `part`.
    """
    first = max(1, batch_size // 2) if shifted else batch_size
    groups: dict[_Group, list[Request]] = {}
    for request in requests:
        scored = request.scored is not None
        key = (part(request), request.benchmark, scored, None if scored else request.sampling)
        groups.setdefault(key, []).append(request)
    batches = itertools.chain.from_iterable(
        _cut(sorted(group, key=prompt_tokens, reverse=True), batch_size, first) for group in groups.values()
    )
    return [
        replace(request, batch=number)
        for number, batch in enumerate(batches)
        if any(request_key(r) not in done for r in batch)
        for request in batch
    ]


def _cut(ordered: Sequence[Request], batch_size: int, first: int) -> Iterator[list[Request]]:
    """Cut a list sorted by falling length, the first batch of at most `first` rows; one request is never divided."""
    batch: list[Request] = []
    rows = longest = 0
    most = first
    for request in ordered:
        more = 1 if request.scored is None else max(1, len(request.scored))
        if batch and (rows + more > most or (rows + more) * longest > MAX_PADDED_TOKENS):
            yield batch
            batch, rows, most = [], 0, batch_size
        if not batch:
            longest = prompt_tokens(request)
        batch.append(request)
        rows += more
    if batch:
        yield batch
