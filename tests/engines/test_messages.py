from __future__ import annotations

import json
import math
import socket
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bitparity.engines import messages
from bitparity.records import Request, Sample, Sampling, Unrendered

anything = st.text(st.characters(codec=None), max_size=40)  # lone surrogates and control characters too

samplings = st.builds(
    Sampling,
    max_tokens=st.integers(1, 99),
    temperature=st.floats(0, 5),
    top_k=st.integers(0, 9),
    stop=st.tuples(anything),
)
ids = st.lists(st.integers(0, 200_000), max_size=5).map(tuple)
requests = st.builds(
    Request,
    benchmark=anything,
    item=anything,
    sample=st.integers(0, 9),
    sampling=samplings,
    seed=st.integers(0, 2**31),
    token_ids=st.none() | ids,
    scored=st.none() | st.lists(st.tuples(ids, ids), max_size=3).map(tuple),
    reasoning_end=st.none() | anything,
    batch=st.none() | st.integers(0, 9),
    unrendered=st.none()
    | st.builds(
        Unrendered,
        messages=st.none() | st.lists(st.fixed_dictionaries({"role": anything}), max_size=2).map(tuple),
        text=st.none() | anything,
        template_args=st.dictionaries(anything, st.booleans(), max_size=2),
        reasoning_start=anything,
    ),
)
samples = st.builds(
    Sample,
    benchmark=anything,
    item=anything,
    sample=st.integers(0, 9),
    text=anything,
    finish=st.sampled_from(["stop", "length", "error"]),
    tokens=st.integers(0, 99),
    prompt_tokens=st.integers(0, 99),
    seconds=st.floats(0, 9),
    logprobs=st.none() | st.lists(st.tuples(st.floats(allow_nan=False), st.booleans()), max_size=3).map(tuple),
    error=st.none() | anything,
)


@given(requests)
def test_requests_come_back_unchanged(request: Request) -> None:
    line = messages.encode("request", *messages.values_of(request))
    assert line.count(b"\n") == 1
    assert messages.decode_request(json.loads(line)) == request


@given(samples)
def test_samples_come_back_unchanged(sample: Sample) -> None:
    line = messages.encode("sample", *messages.values_of(sample))
    assert line.count(b"\n") == 1
    assert messages.decode_sample(json.loads(line)) == sample


def test_not_a_number_passes() -> None:
    sample = replace(Sample("b", "q", 0, "", "stop", 0, 0, 0.0), logprobs=((math.nan, False),))
    back = messages.decode_sample(json.loads(messages.encode("sample", *messages.values_of(sample))))
    assert back.logprobs is not None
    assert math.isnan(back.logprobs[0][0])


def test_lines_are_put_together_again() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        lines = messages.Lines(ours)
        theirs.sendall(b'["a"]\n["b",')
        assert lines.receive() == [["a"]]
        theirs.sendall(b'1]\n["c"]\n')
        assert lines.receive() == [["b", 1], ["c"]]
        theirs.close()
        assert lines.receive() is None
