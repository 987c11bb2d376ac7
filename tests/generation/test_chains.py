"""Items built on earlier answers: asked in turn, per sample, durable, and the same after any interruption."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import Cli, write_jsonl, write_yaml

from bitparity.benchmarks import registry as benchmarks
from bitparity.benchmarks.contract import Benchmark, Info
from bitparity.exam.frozen import Exam, ExamItem
from bitparity.generation.chains import ItemChains, generate_samples
from bitparity.records import Completion, Grade, Item, Prompt, Request, Sample, Sampling
from bitparity.store.jsonl import read_lines
from bitparity.store.run import Run

SAMPLING = Sampling(8)


def exam(*chains: int) -> Exam:
    """Problems a, b, ... with so many steps each: a1, a2 after a1, ..."""
    items = []
    for letter, length in zip("abcdefg", chains, strict=False):
        for n in range(1, length + 1):
            items.append(Item(f"{letter}{n}", (Prompt(text="?"),), None, after=f"{letter}{n - 1}" if n > 1 else None))
    entries = tuple(ExamItem(item) for item in items)
    return Exam("steps", "score", SAMPLING, 1, None, entries, len(entries), {})


def request(name: str, sample: int, *tokens: int) -> Request:
    return Request("steps", name, sample, SAMPLING, 1, token_ids=tokens or (1,))


def make(entry: ExamItem, sample: int, before: Sequence[Sample]) -> Request:
    """The prompt's length tells how much text came before."""
    return request(entry.item.id, sample, *range(1 + sum(len(s.text) for s in before)))


def first(frozen: Exam, samples: int = 1) -> list[Request]:
    return [request(e.item.id, k) for e in frozen.items if e.item.after is None for k in range(samples)]


class Fake:
    """An engine that answers each request with its own name; `stop_after` answers it dies."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.asked: list[Request] = []
        self.runs: list[list[str]] = []
        self.left = stop_after

    def __call__(self, requests: Iterable[Request | None]) -> Iterator[list[Sample]]:
        self.runs.append([])
        for r in requests:
            if r is None:
                continue
            if not self.left:
                raise RuntimeError("killed")
            self.left -= 1
            self.asked.append(r)
            self.runs[-1].append(r.item)
            yield [Sample("steps", r.item, r.sample, f"{r.item}.{r.sample}", "stop", 1, 1, 0.1)]


@pytest.mark.parametrize("batched", [False, True])
def test_every_step_is_asked_once_after_those_before_it(batched: bool) -> None:
    frozen, engine = exam(3, 1, 2), Fake()
    chains = ItemChains(frozen, 2, {}, make, None)
    assert chains.missing() == 6
    bursts = generate_samples(engine, first(frozen, 2), {"steps": chains}, list if batched else None)
    got = [(s.item, s.sample) for burst in bursts for s in burst]
    assert sorted(got) == sorted((e.item.id, k) for e in frozen.items for k in range(2))
    for place, (item, sample) in enumerate(got):
        before = f"{item[0]}{int(item[1]) - 1}"
        assert item[1] == "1" or (before, sample) in got[:place]
    lengths = {(r.item, r.sample): len(r.token_ids or ()) for r in engine.asked}
    assert lengths["a3", 1] == 1 + len("a1.1a2.1")  # its own sample's answers, no other's


def test_what_follows_from_an_answer_does_not_wait_for_all_others() -> None:
    """An engine that takes a request whenever it has given an answer: the chain is over long before the rest."""
    frozen, engine = exam(3), Fake()
    others = [replace(request(f"o{n}", 0), benchmark="others") for n in range(50)]
    list(generate_samples(engine, [*first(frozen), *others], {"steps": ItemChains(frozen, 1, {}, make, None)}, None))
    places = {r.item: place for place, r in enumerate(engine.asked)}
    assert len(places) == 53
    assert places["a1"] < places["a2"] < places["a3"] < 10
    assert [r.item for r in engine.asked if r.benchmark == "others"] == [r.item for r in others]


def test_an_engine_with_fixed_batches_gets_each_depth_whole() -> None:
    frozen, engine = exam(3, 1, 2), Fake()
    list(generate_samples(engine, first(frozen), {"steps": ItemChains(frozen, 1, {}, make, None)}, list))
    assert engine.runs == [["a1", "b1", "c1"], ["a2", "c2"], ["a3"]]


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("stop", range(9))
def test_a_run_stopped_anywhere_goes_on_to_the_same_requests(stop: int, batched: bool) -> None:
    frozen, whole = exam(3, 1, 2, 3), Fake()
    list(
        generate_samples(
            whole, first(frozen), {"steps": ItemChains(frozen, 1, {}, make, None)}, list if batched else None
        )
    )
    expected = {r.item: r for r in whole.asked}
    stored: dict[tuple[str, int], Sample] = {}
    for engine in (Fake(stop), Fake()):
        chains = ItemChains(frozen, 1, stored, make, None)

        def batches(requests: Sequence[Request]) -> list[Request]:
            return [r for r in requests if (r.item, r.sample) not in stored]

        begin = batches(first(frozen))
        try:
            for burst in generate_samples(engine, begin, {"steps": chains}, batches if batched else None):
                stored.update({(s.item, s.sample): s for s in burst})
        except RuntimeError:
            continue
    assert set(stored) == {(item, 0) for item in expected}
    assert all(r == expected[r.item] for r in engine.asked)


@pytest.mark.parametrize("batched", [False, True])
def test_a_failed_answer_stops_its_chain_and_no_other(batched: bool) -> None:
    class Failing(Fake):
        def __call__(self, requests: Iterable[Request | None]) -> Iterator[list[Sample]]:
            for burst in super().__call__(requests):
                failed = [Sample("steps", s.item, s.sample, "", "error", 0, 0, 0.0, error="x") for s in burst]
                yield failed if burst[0].item == "a2" else burst

    frozen, engine = exam(3, 2), Failing()
    list(
        generate_samples(
            engine, first(frozen), {"steps": ItemChains(frozen, 1, {}, make, None)}, list if batched else None
        )
    )
    assert sorted(r.item for r in engine.asked) == ["a1", "a2", "b1", "b2"]


@pytest.mark.parametrize("batched", [False, True])
def test_earlier_answers_that_fill_the_context_cut_the_next_one_off(batched: bool) -> None:
    frozen, engine = exam(3), Fake()
    chains = ItemChains(frozen, 1, {}, make, context=SAMPLING.max_tokens + 4)
    got = [
        s
        for burst in generate_samples(engine, first(frozen), {"steps": chains}, list if batched else None)
        for s in burst
    ]
    assert [(s.item, s.finish, s.tokens) for s in got] == [("a1", "stop", 1), ("a2", "length", 0), ("a3", "length", 0)]
    assert all(s.error is None for s in got)


# ---------------------------------------------------------------- a whole run


class Story(Benchmark):
    """Three steps a problem; right is an answer that repeats all before it."""

    info = Info("Story", 6, ("chat",), "score", None)

    def items(self) -> Iterable[Item]:
        for letter in "ab":
            for n in (1, 2, 3):
                after = f"{letter}{n - 1}" if n > 1 else None
                yield Item(f"{letter}{n}", (Prompt(text="Go on."),), None, group=letter, after=after)

    def follow_up(self, item: Item, earlier: Sequence[Completion]) -> Prompt:
        return Prompt(text="Go on." + "".join(c.text for c in earlier))

    def grade(self, item: Item, completion: Completion) -> Grade:
        before = "".join(c.text for c in completion.earlier)
        score = float(completion.text == before + item.id)
        return Grade(score, "answered", completion.text, {"score": score})


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(benchmarks.built_in(), "smoke", __name__)
    texts = {"1": "{0}1", "2": "{0}1{0}2", "3": "{0}1{0}1{0}2{0}3"}
    rows = [{"item": f"{x}{n}", "text": texts[n].format(x), "tokens": 1} for x in "ab" for n in "123"]
    write_jsonl(tmp_path / "full.jsonl", rows)
    write_jsonl(tmp_path / "half.jsonl", [row for row in rows if row["item"] != "b2"])
    return write_yaml(
        tmp_path / "study.yaml",
        {
            "study": "story",
            "variants": {"full": {"model": "full.jsonl", "baseline": True}, "half": {"model": "half.jsonl"}},
            "engine": {"kind": "replay"},
            "benchmarks": ["smoke"],
        },
    )


BENCHMARK = Story


def test_steps_are_run_graded_and_resumed(cli: Cli, study: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert cli("run", study, "--out", out).code == 3
    made: dict[str, Any] = json.loads((out / "results.json").read_text())["benchmarks"]["smoke"]
    assert made["scores"]["full"]["mean"] == 1.0
    assert made["scores"]["half"]["unscored"] == 2  # b2 is missing, so b3 could not be asked
    assert [row["item"] for row in read_lines(out / "samples" / "half" / "smoke.jsonl")].count("b3") == 0
    (tmp_path / "half.jsonl").write_text((tmp_path / "full.jsonl").read_text())
    document = json.loads((out / "environment.json").read_text())
    document["variants"]["half"]["identity"] = {"recorded": str(tmp_path / "half.jsonl")}
    (out / "environment.json").write_text(json.dumps(document))
    cli("run", study, "--out", out)
    assert Run(out).grades("half", "smoke") == Run(out).grades("full", "smoke")
    assert all(grade.score == 1.0 for grade in Run(out).grades("half", "smoke").values())
