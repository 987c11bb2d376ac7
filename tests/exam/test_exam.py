from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitparity.benchmarks.contract import Benchmark, Info
from bitparity.errors import DataError, ModelError, StoreError
from bitparity.exam.build import build_exam
from bitparity.exam.frozen import Exam, ExamItem, load_exam, samples_asked, save_exam
from bitparity.exam.requests import Examinee, UnansweredRequests, check_lengths, sample_seed
from bitparity.models.tokenizer import Rendered
from bitparity.records import Completion, Grade, Item, Prompt, SampleKeys
from bitparity.schema import BenchmarkSpec, Protocol
from bitparity.study.resolve import parse_study

STUDY = "study: s\nvariants: {{a: {{model: x/y}}}}\nbenchmarks:\n  - {{name: smoke, max_tokens: 10{more}}}\n"


def spec(more: str = "") -> BenchmarkSpec:
    return parse_study(STUDY.format(more=more), "study.yaml", Path()).benchmarks[0]


class ToyBenchmark(Benchmark):
    """Questions with the ids that the test asks for."""

    info = Info("toy", 0, ("chat",), "exact", None)
    ids: Iterable[str] = ()
    fixed_order = False

    def items(self) -> list[Item]:
        return [
            Item(name, (Prompt(messages=({"role": "user", "content": f"Say {name}"},)),), reference=name)
            for name in self.ids
        ]

    def grade(self, item: Item, completion: Completion) -> Grade:
        return Grade(float(completion.text == item.reference), "answered")


class ToyRenderer:
    """A tokenizer that knows letters; `prefix` is its chat template."""

    def __init__(self, prefix: str = "> ") -> None:
        self.prefix = prefix

    def render(self, prompt: Prompt, protocol: Protocol) -> Rendered:
        text = self.prefix + "".join(m["content"] for m in prompt.messages or ()) + (prompt.text or "")
        ids = tuple(map(ord, text))
        scored = tuple((ids, tuple(map(ord, c))) for c in prompt.continuations) or None
        return Rendered(text, ids, scored)

    render_once = render

    def unused_template_args(self, protocol: Protocol) -> list[str]:
        return [name for name in protocol.chat_template_args if name != "known"]

    def decode(self, ids: Any) -> str:
        return "".join(map(chr, ids))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> type[ToyBenchmark]:
    made = type("Toy", (ToyBenchmark,), {"ids": tuple(f"q{n}" for n in range(40))})
    monkeypatch.setattr("bitparity.exam.build.load_benchmark", made)
    return made


def ids(exam: Exam) -> list[str]:
    return [entry.item.id for entry in exam.items]


def test_the_order_is_shuffled_by_id_and_a_limit_is_its_prefix(toy: type[ToyBenchmark]) -> None:
    full = ids(build_exam(spec(), None))
    assert sorted(full) == sorted(toy.ids)
    assert full != list(toy.ids)
    for limit in (1, 7, 39, 40, 99):
        assert ids(build_exam(spec(f", limit: {limit}"), None)) == full[:limit]
    toy.ids = tuple(reversed(tuple(toy.ids)))
    assert ids(build_exam(spec(), None)) == full


def test_an_lm_eval_like_benchmark_keeps_its_own_order(toy: type[ToyBenchmark]) -> None:
    toy.fixed_order = True
    assert ids(build_exam(spec(), None)) == list(toy.ids)


def test_the_number_of_available_items_is_kept_beside_a_limit(toy: type[ToyBenchmark]) -> None:
    exam = build_exam(spec(", limit: 3"), None)
    assert (len(exam.items), exam.available) == (3, 40)


def test_a_template_argument_that_changes_nothing_is_noted(toy: type[ToyBenchmark]) -> None:
    exam = build_exam(spec(", chat_template_args: {known: 1, enable_thinking: true}"), ToyRenderer())
    (note,) = exam.notes
    assert "'enable_thinking'" in note
    assert build_exam(spec(", chat_template_args: {known: 1}"), ToyRenderer()).notes == ()


def test_what_a_prompt_notes_is_noted_in_the_exam() -> None:
    class Noting(ToyRenderer):
        def render_once(self, prompt: Prompt, protocol: Protocol) -> Rendered:
            return replace(super().render_once(prompt, protocol), notes=("a date",))

    assert build_exam(spec(""), Noting()).notes == ("a date",)


def test_repeated_ids_and_an_empty_benchmark_are_refused(toy: type[ToyBenchmark]) -> None:
    toy.ids = ("a", "b", "a")
    with pytest.raises(DataError, match="'a' occurs twice"):
        build_exam(spec(), None)
    toy.ids = ()
    with pytest.raises(DataError, match="no items"):
        build_exam(spec(), None)


@pytest.mark.parametrize("renderer", [None, ToyRenderer()])
def test_a_frozen_exam_comes_back_as_it_was(toy: type[ToyBenchmark], renderer: Any, tmp_path: Path) -> None:
    toy.ids = ("a", "ä\u2028", "\ud800")
    exam = save_exam(build_exam(spec(), renderer), tmp_path / "e.jsonl")
    assert load_exam(tmp_path / "e.jsonl") == exam
    assert exam.rendered == (renderer is not None)


@pytest.mark.parametrize("label", [7, True, ["algebra"], {"a": 1}])
def test_a_label_of_any_type_is_read_as_text(toy: type[ToyBenchmark], tmp_path: Path, label: Any) -> None:
    exam = build_exam(spec(), None)
    odd = [replace(entry, item=replace(entry.item, subgroup=label)) for entry in exam.items[:1]]
    save_exam(replace(exam, items=(*odd, *exam.items[1:])), tmp_path / "e.jsonl")
    assert load_exam(tmp_path / "e.jsonl").items[0].item.subgroup == str(label)


def test_an_exam_that_was_changed_after_freezing_is_refused(toy: type[ToyBenchmark], tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    save_exam(build_exam(spec(), None), path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    with pytest.raises(StoreError, match="changed after it was frozen"):
        load_exam(path)
    header = json.loads(lines[0])
    for change in ({"sampling": header["sampling"] | {"max_tokens": [3]}}, {"notes": "x"}, {"available": "7"}):
        path.write_text("".join([json.dumps(header | change) + "\n", *lines[1:]]))
        with pytest.raises(StoreError, match="is not an exam of this version"):
            load_exam(path)
    row = json.loads(lines[-1]) | {"reference": "another"}
    path.write_text("".join([*lines[:-1], json.dumps(row) + "\n"]))
    with pytest.raises(StoreError, match="changed after it was frozen"):
        load_exam(path)


def test_requests_carry_the_rendered_tokens_and_a_seed_for_each_sample(toy: type[ToyBenchmark]) -> None:
    toy.ids = ("a", "b")
    three = spec(", samples: 3")
    exam = build_exam(three, ToyRenderer())
    made = list(Examinee("v", ToyRenderer(), ToyRenderer()).requests(exam, three))
    assert [(r.item, r.sample) for r in made] == [(i, k) for i in ids(exam) for k in range(3)]
    assert len({r.seed for r in made}) == 6
    assert made[0].token_ids == tuple(map(ord, f"> Say {made[0].item}"))
    assert made == list(Examinee("other variant", ToyRenderer()).requests(exam, three))


def test_items_asked_in_several_orders_give_sample_k_the_prompt_k(toy: type[ToyBenchmark]) -> None:
    toy.ids = ("a",)
    three = spec(", samples: 3")
    exam = build_exam(three, None)
    two = tuple(Prompt(text=text) for text in ("first", "second"))
    item = replace(exam.items[0].item, prompts=two)
    made = Examinee("v", ToyRenderer("")).requests(replace(exam, items=(ExamItem(item),)), three)
    assert ["".join(map(chr, r.token_ids or ())) for r in made] == ["first", "second", "first"]


def test_an_exam_of_log_likelihoods_is_asked_once_whatever_the_samples(toy: type[ToyBenchmark]) -> None:
    three = spec(", samples: 3")
    exam = build_exam(three, None)
    written = exam.items[0]
    scored = ExamItem(replace(written.item, prompts=(Prompt(text="x", continuations=("y", "z")),)))
    asked = {
        n: samples_asked(replace(exam, items=items), three)
        for n, items in enumerate(
            [
                (scored, scored),
                (written, written),
                (scored, written),
                (written, scored),
            ]
        )
    }
    assert asked == {0: 1, 1: 3, 2: 3, 3: 3}
    (request,) = Examinee("v", ToyRenderer("")).requests(replace(exam, items=(scored,)), spec())
    assert request.scored == (((120,), (121,)), ((120,), (122,)))


def test_another_chat_template_is_refused_with_the_difference_shown(toy: type[ToyBenchmark]) -> None:
    exam = build_exam(spec(), ToyRenderer("<user> "))
    with pytest.raises(ModelError) as error:
        Examinee("fp8", ToyRenderer("<User> "), ToyRenderer("<user> ")).requests(exam, spec())
    assert "variant 'fp8' does not sit the same exam" in str(error.value)
    assert "<user>" in str(error.value)
    assert "<User>" in str(error.value)


def test_an_item_that_does_not_fit_is_refused_by_name(toy: type[ToyBenchmark]) -> None:
    toy.ids = ("short", "a much longer question")
    exam = build_exam(spec(), ToyRenderer(""))
    longest = len("Say a much longer question") + 10
    check_lengths(exam, "v", longest)
    with pytest.raises(ModelError, match="1 of 2 items .*'a much longer question'.*budget of 10"):
        check_lengths(exam, "v", longest - 1)
    check_lengths(exam, "v", None)


@given(st.integers(0, 2**31 - 1), st.text(max_size=9), st.integers(0, 99))
def test_sample_seeds_fit_every_engine(seed: int, item: str, sample: int) -> None:
    value = sample_seed(seed, "b", item.encode("utf-8", "replace").decode(), sample)
    assert 0 <= value < 2**31


def test_seeds_and_orders_are_the_same_in_every_process() -> None:
    code = "from bitparity.exam.requests import sample_seed; print(sample_seed(1234, 'math500', 'é', 3))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert seen == {f"{sample_seed(1234, 'math500', 'é', 3)}\n"}


@pytest.mark.parametrize("control", [False, True])
def test_what_is_unanswered_comes_in_the_order_of_all_requests(control: bool) -> None:
    items = [Item(f"i{n}", (Prompt(text="?"),), None) for n in range(20)]
    exam = replace(build_exam(spec(), None), items=tuple(ExamItem(i) for i in items), benchmark="b")
    three = spec().model_copy(update={"samples": 3})
    asked = Examinee("v", control=control).requests(exam, three)
    done = SampleKeys([("i3", 0), ("i3", 2), ("i19", 1), *(("i7", k) for k in range(3))])
    left = UnansweredRequests({"b": asked, "c": asked}, {"b": done, "c": SampleKeys(r for r in done)})
    once = [r for r in asked if (r.item, r.sample) not in done]
    assert len(once) == 60 - 6
    assert list(left) == once * 2
    assert left.spans() == [("b", 0, 54), ("b", 54, 108)]
    with pytest.raises(IndexError):
        left[108]
