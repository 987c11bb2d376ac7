"""Reading with an engine made of random tables: what is asked, stored, resumed and compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from distance_doubles import ANSWERS, VOCABULARY, Table
from scipy.special import rel_entr

from bitparity.distance.reader import Readers
from bitparity.distance.store import AGAIN, load_arrays, load_readings, readings_path
from bitparity.engines.readings import DRAWN
from bitparity.errors import StoreError
from bitparity.exam.spot_check import shares
from bitparity.records import Request
from bitparity.store.run import Run


@pytest.fixture
def readers(tmp_path: Path) -> Readers:
    return Readers(Run(tmp_path), "bf16", ANSWERS, top=VOCABULARY)


def read(readers: Readers, reader: str, model: Table) -> str | None:
    return readers.read(reader, model, lambda count: None)


def test_a_candidate_is_compared_with_what_the_baseline_read(readers: Readers) -> None:
    base, other = Table(), Table(noise=0.3)
    assert readers.waiting("bf16") == ["bf16", "bf16" + AGAIN]
    for reader, model in (("bf16", base), ("bf16" + AGAIN, base), ("fp8", other)):
        assert read(readers, reader, model) is None
        assert readers.missing(reader) == []
    assert base.asked == [a.item for a in ANSWERS] + [a.item for a in reversed(ANSWERS)]
    stored = load_readings(readers.run, "fp8", "two")
    arrays = load_arrays(readers.run, "fp8", "two", list(stored.values()))
    for (key, reading), found in zip(stored.items(), arrays, strict=True):
        answer = next(a for a in ANSWERS if a.key == key)
        request = Request("two", answer.item, 0, None, 0, scored=((answer.context, answer.ids),))  # type: ignore[arg-type]
        p, q = base.scores(request), other.scores(request)
        exact = rel_entr(np.exp(p), np.exp(q)).sum(axis=1)
        assert found["divergence"] == pytest.approx(exact, abs=1e-5)
        assert reading.divergence == pytest.approx(exact.sum(), abs=1e-4)
        assert reading.differs == (p.argmax(axis=1) != q.argmax(axis=1)).sum()
        assert reading.tokens == len(answer.ids)
    floor = load_readings(readers.run, "bf16" + AGAIN, "one").values()
    assert {reading.divergence for reading in floor} == {0.0}


def test_drawn_tokens_estimate_what_the_likeliest_do_not_tell(readers: Readers) -> None:
    few = replace(readers, top=4)
    base, other = Table(draws=True), Table(noise=0.3, draws=True)
    for reader, model in (
        ("bf16", base),
        ("bf16" + AGAIN, base),
        ("fp8", other),
        ("mute", replace(other, draws=False)),
    ):
        assert read(few, reader, model) is None
        assert few.missing(reader) == []
    sums = np.zeros(4)
    for name in ("one", "two"):
        first = load_readings(few.run, "bf16", name)
        assert {reading.drawn for reading in first.values()} == {DRAWN}
        again = load_arrays(few.run, "bf16" + AGAIN, name, list(load_readings(few.run, "bf16" + AGAIN, name).values()))
        assert not any(each["divergence"].any() or each["differs"].any() for each in again)
        stored = load_readings(few.run, "fp8", name)
        lumped = load_arrays(few.run, "mute", name, list(load_readings(few.run, "mute", name).values()))
        for found, least in zip(load_arrays(few.run, "fp8", name, list(stored.values())), lumped, strict=True):
            assert (found["bound"] >= least["divergence"] - 1e-6).all()
            assert "bound" not in least
            sums += [found["divergence"].sum(), found["bound"].sum(), least["divergence"].sum(), found["differs"].sum()]
    exact = differs = 0.0
    for answer in ANSWERS:
        request = Request("b", answer.item, 0, None, 0, scored=((answer.context, answer.ids),))  # type: ignore[arg-type]
        p, q = base.scores(request), other.scores(request)
        exact += rel_entr(np.exp(p), np.exp(q)).sum()
        differs += (p.argmax(axis=1) != q.argmax(axis=1)).sum()
    assert sums[0] == pytest.approx(exact, rel=0.1)
    assert sums[2] < sums[1] < 0.8 * exact
    assert sums[3] == differs


def test_an_interrupted_reading_goes_on_with_what_is_missing(readers: Readers) -> None:
    with pytest.raises(RuntimeError):
        read(readers, "bf16", Table(stops_after=7))
    path = readings_path(readers.run, "bf16", "two")
    path.write_bytes(path.read_bytes() + b'{"item": "torn')  # in flight when the process died
    with path.with_suffix(".arrays").open("ab") as file:
        file.write(b"half of an array")
    model = Table()
    assert read(readers, "bf16", model) is None
    assert model.asked == [a.item for a in ANSWERS[7:]]
    whole = load_readings(readers.run, "bf16", "two")
    assert len(whole) == 6
    assert len(load_arrays(readers.run, "bf16", "two", list(whole.values()))) == 6


def test_other_answers_or_settings_are_read_anew(readers: Readers) -> None:
    read(readers, "bf16", Table())
    changed = replace(readers, answers=[replace(ANSWERS[0], ids=(5, 6)), *ANSWERS[1:]])
    assert [answer.item for answer in changed.missing("bf16")] == [ANSWERS[0].item]
    assert len(replace(readers, top=3).missing("bf16")) == len(ANSWERS)


def test_an_engine_that_cannot_is_asked_no_more(readers: Readers) -> None:
    model = Table(fails=True)
    assert read(readers, "bf16", model) == "no log-probabilities here"
    assert len(readers.missing("bf16")) == len(ANSWERS)
    assert all(reading.error for reading in load_readings(readers.run, "bf16", "one").values())


def test_a_candidate_cannot_be_compared_before_the_baseline_has_read(readers: Readers) -> None:
    assert read(readers, "fp8", Table()) == "the baseline has not read this answer"


def test_numbers_that_are_missing_are_counted(readers: Readers) -> None:
    read(readers, "bf16", Table())
    read(readers, "fp8", Table(nan=True))
    assert {(r.tokens, r.divergence) for r in load_readings(readers.run, "fp8", "one").values()} == {(0, 0.0)}
    assert sum(r.nan for r in load_readings(readers.run, "fp8", "one").values()) == sum(range(3, 9))


def test_a_damaged_file_is_told(readers: Readers) -> None:
    read(readers, "bf16", Table())
    path = readings_path(readers.run, "bf16", "one").with_suffix(".arrays")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match="checksum"):
        load_arrays(readers.run, "bf16", "one", list(load_readings(readers.run, "bf16", "one").values()))


@pytest.mark.parametrize(
    ("available", "most", "taken"),
    [
        ({"a": 4000, "b": 500, "c": 30}, 1000, {"a": 485, "b": 485, "c": 30}),
        ({"a": 10, "b": 3}, 1000, {"a": 10, "b": 3}),
        ({"a": 10, "b": 10, "c": 10}, 2, {"a": 1, "b": 1, "c": 0}),
        ({}, 10, {}),
    ],
)
def test_every_benchmark_has_a_similar_share(available: dict[str, int], most: int, taken: dict[str, int]) -> None:
    assert shares(available, most) == taken
