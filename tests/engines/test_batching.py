from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bitparity.engines.batching import MAX_PADDED_TOKENS, fixed_batches
from bitparity.records import Request, Sampling

GREEDY = Sampling(max_tokens=8)


def generate(number: int, length: int, sampling: Sampling = GREEDY, benchmark: str = "b") -> Request:
    return Request(benchmark, f"q{number}", 0, sampling, number, tuple(range(length)))


def scored(number: int, lengths: list[int]) -> Request:
    pairs = tuple((tuple(range(length)), (1,)) for length in lengths)
    return Request("b", f"s{number}", 0, GREEDY, number, None, pairs)


def key(request: Request) -> tuple[str, str, int]:
    return (request.benchmark, request.item, request.sample)


requests = st.lists(st.integers(1, 40), max_size=60).map(
    lambda lengths: [
        scored(n, [length, length + 1]) if length % 3 == 0 else generate(n, length) for n, length in enumerate(lengths)
    ]
)


@given(requests, st.integers(1, 9), st.sets(st.integers(0, 59)))
def test_what_is_done_changes_no_batch(everything: list[Request], size: int, done: set[int]) -> None:
    keys = {key(r) for n, r in enumerate(everything) if n in done}
    whole, rest = fixed_batches(everything, size, set()), fixed_batches(everything, size, keys)
    wanted = {r.batch for r in whole if key(r) not in keys}
    assert rest == [r for r in whole if r.batch in wanted]


@given(requests, st.integers(1, 9))
def test_every_request_is_in_one_batch(everything: list[Request], size: int) -> None:
    whole = fixed_batches(everything, size, set())
    assert Counter(map(key, whole)) == Counter(map(key, everything))
    assert [b for b, _ in itertools.groupby(r.batch for r in whole)] == sorted({r.batch for r in whole})
    for _, members in itertools.groupby(whole, key=lambda r: r.batch):
        batch = list(members)
        assert len(batch) == 1 or sum(len(r.scored or (0,)) for r in batch) <= size
        assert len({r.scored is None for r in batch}) == 1


def test_samplings_and_benchmarks_are_not_mixed() -> None:
    warm = Sampling(max_tokens=8, temperature=0.7)
    whole = fixed_batches([generate(0, 3), generate(1, 3, warm), generate(2, 3, benchmark="c")], 8, set())
    assert len({r.batch for r in whole}) == 3


def test_long_prompts_make_small_batches() -> None:
    whole = fixed_batches([generate(n, 20_000) for n in range(7)], 32, set())
    sizes = Counter(r.batch for r in whole)
    assert max(sizes.values()) == MAX_PADDED_TOKENS // 20_000


def test_longest_first() -> None:
    whole = fixed_batches([generate(n, n + 1) for n in range(5)], 2, set())
    assert [len(r.token_ids or ()) for r in whole] == [5, 4, 3, 2, 1]
