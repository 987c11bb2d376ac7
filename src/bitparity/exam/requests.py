"""The exam: the frozen items of a benchmark with their final prompts. Every variant sits the same one.

The first run builds it with the baseline's tokenizer and chat template and stores, for each item, the
messages, the prompt's text and the hash of its tokens. Any later rendering, by another variant or by a
later process, must give the same tokens or is refused with the difference shown.
"""

from __future__ import annotations

import bisect
import itertools
from array import array
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, overload

from bitparity.errors import ModelError
from bitparity.exam.build import _digest, token_hash
from bitparity.exam.frozen import Exam, ExamItem
from bitparity.records import Item, Prompt, Request, Unrendered
from bitparity.schema import BenchmarkSpec

if TYPE_CHECKING:
    from bitparity.exam.rendering import Rendered, Renderer

CONTROL_SALT = "control\0"


def sample_seed(seed: int, benchmark: str, item: str, sample: int, salt: str = "") -> int:
    """The seed of one sample, the same for every variant: from the protocol's seed and the sample's name.

    `salt` makes the control's seeds other ones.
    """
    return int.from_bytes(_digest(f"{salt}{seed}\0{benchmark}\0{item}\0{sample}")[:4], "big") >> 1


@dataclass(frozen=True, slots=True)
class _Question:
    """An item that can be asked at once, with the tokens of its prompts or the continuations to score."""

    item: Item
    tokens: tuple[tuple[int, ...], ...] | None
    scored: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] | None


class Questions(Sequence[Request]):
    """The requests of a benchmark for one variant, each made when it is asked for: a study may have millions."""

    def __init__(self, exam: Exam, spec: BenchmarkSpec, asked: list[_Question], *, control: bool, served: bool) -> None:
        self._exam, self._spec, self._asked, self._served = exam, spec, asked, served
        self._salt = CONTROL_SALT if control else ""
        self._order: array[int] | None = None
        if control:
            self._order = array("I", sorted(range(len(self)), key=self._control_order))

    def _control_order(self, place: int) -> bytes:
        question, sample = self._place(place)
        return _digest(f"{self._salt}\0{question.item.id}\0{sample}")

    def __len__(self) -> int:
        return len(self._asked) * self._spec.samples

    def _place(self, place: int) -> tuple[_Question, int]:
        number, sample = divmod(place, self._spec.samples)
        return self._asked[number], sample

    def _find(self, index: int) -> tuple[_Question, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._place(index if self._order is None else self._order[index])

    def unanswered(self, done: Container[tuple[str, int]]) -> array[int]:
        """The indices of the requests whose (item, sample) is not in `done`."""
        waiting = bytearray(
            (question.item.id, sample) not in done for question in self._asked for sample in range(self._spec.samples)
        )
        order = range(len(self)) if self._order is None else self._order
        return array("I", (index for index, place in enumerate(order) if waiting[place]))

    @overload
    def __getitem__(self, index: int) -> Request: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Request]: ...
    def __getitem__(self, index: int | slice) -> Request | Sequence[Request]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        (question, k), exam = self._find(index), self._exam
        prompts = question.item.prompts
        return Request(
            benchmark=exam.benchmark,
            item=question.item.id,
            sample=k,
            sampling=exam.sampling,
            seed=sample_seed(exam.seed, exam.benchmark, question.item.id, k, self._salt),
            token_ids=question.tokens[k % len(question.tokens)] if question.tokens else None,
            scored=question.scored,
            reasoning_end=exam.reasoning_end,
            unrendered=_unrendered(prompts[k % len(prompts)], self._spec, self._served),
        )


class Unanswered(Sequence[Request]):
    """The requests of several benchmarks that have no answer, each made when it is asked for."""

    def __init__(self, questions: Mapping[str, Questions], done: Mapping[str, Container[tuple[str, int]]]) -> None:
        self._parts = [(asked, asked.unanswered(done[name])) for name, asked in questions.items()]
        self._starts = list(itertools.accumulate((len(left) for _, left in self._parts), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, index: int) -> Request: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Request]: ...
    def __getitem__(self, index: int | slice) -> Request | Sequence[Request]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = bisect.bisect_right(self._starts, index) - 1
        questions, left = self._parts[part]
        return questions[left[index - self._starts[part]]]

    def spans(self) -> list[tuple[str, int, int]]:
        """(benchmark, start, stop) of each benchmark's requests."""
        bounds = zip(self._parts, itertools.pairwise(self._starts), strict=True)
        return [(questions[0].benchmark, start, stop) for (questions, _), (start, stop) in bounds if start < stop]


def exam_requests(
    exam: Exam,
    spec: BenchmarkSpec,
    renderer: Renderer | None,
    reference: Renderer | None,
    variant: str,
    *,
    control: bool = False,
    served: bool = False,
) -> Questions:
    """All requests of a benchmark for one variant, in the exam's order, the spec's samples of each item together.

    For the control, the samples have other seeds and come in another order. With `served` they also hold the
    prompt as a server is asked it. Raises ModelError where the variant's rendering gives other tokens than the
    exam's, or a server would have to score continuations that nobody has turned into tokens.
    """
    asked: list[_Question] = []
    for entry in exam.items:
        tokens: tuple[tuple[int, ...], ...] | None = None
        scored: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] | None = None
        if renderer is not None:
            rendered = [renderer.render_once(prompt, spec.protocol) for prompt in entry.item.prompts]
            _check_same(exam, entry, rendered, spec, renderer, reference, variant)
            tokens = tuple(r.token_ids for r in rendered)
            if any(r.scored is not None for r in rendered):
                scored = tuple(pair for r in rendered for pair in r.scored or ())
        elif served:
            _check_generates(exam, entry, variant)
        if entry.item.after is None:  # others are asked once the answer before them is there
            asked.append(_Question(entry.item, tokens, scored))
    return Questions(exam, spec, asked, control=control, served=served)


def follow_up(
    exam: Exam,
    entry: ExamItem,
    sample: int,
    prompt: Prompt,
    spec: BenchmarkSpec,
    renderer: Renderer | None,
    reference: Renderer | None,
    variant: str,
    *,
    control: bool = False,
    served: bool = False,
) -> Request:
    """The request of an item whose prompt is built on earlier answers; the same checks as for any other.

    Raises ModelError where the variant's rendering gives other tokens than the reference's.
    """
    tokens = None
    if renderer is not None:
        rendered = renderer.render(prompt, spec.protocol)
        if reference is not None and reference is not renderer:
            right = reference.render(prompt, spec.protocol)
            whole = ExamItem(replace(entry.item, prompts=(prompt,)), (right.text,), (token_hash(right),))
            _check_same(exam, whole, [rendered], spec, renderer, reference, variant)
        tokens = rendered.token_ids
    salt = CONTROL_SALT if control else ""
    seed = sample_seed(exam.seed, exam.benchmark, entry.item.id, sample, salt)
    name = (exam.benchmark, entry.item.id, sample)
    asked = _unrendered(prompt, spec, served)
    return Request(*name, exam.sampling, seed, token_ids=tokens, reasoning_end=exam.reasoning_end, unrendered=asked)


def _unrendered(prompt: Prompt, spec: BenchmarkSpec, served: bool) -> Unrendered | None:
    if not served or prompt.continuations:
        return None
    from bitparity.exam.rendering import unrendered

    return unrendered(prompt, spec.protocol)


def _check_generates(exam: Exam, entry: ExamItem, variant: str) -> None:
    if any(prompt.continuations for prompt in entry.item.prompts):
        raise ModelError(
            f"{exam.benchmark} needs the log-likelihood of given texts, which takes their tokens: give variant "
            f"'{variant}' the key 'tokenizer' with the served model's folder or hub id, or leave this benchmark out"
        )


def _check_same(
    exam: Exam,
    entry: ExamItem,
    rendered: Sequence[Rendered],
    spec: BenchmarkSpec,
    renderer: Renderer,
    reference: Renderer | None,
    variant: str,
) -> None:
    if entry.hashes is None or entry.texts is None:
        return
    for index, own in enumerate(rendered):
        if token_hash(own) != entry.hashes[index]:
            shown = _difference(entry, index, own, spec, renderer, reference)
            raise ModelError(
                f"variant '{variant}' does not sit the same exam: item '{entry.item.id}' of {exam.benchmark} "
                f"becomes another prompt ({shown}). Its tokenizer or chat template differs from the baseline's; "
                "copy the baseline's files into it or set the variant's 'tokenizer' to the baseline's model"
            )


def _difference(
    entry: ExamItem, index: int, own: Rendered, spec: BenchmarkSpec, own_renderer: Renderer, reference: Renderer | None
) -> str:
    """Where the frozen prompt and a variant's own part, in one line."""
    from bitparity.exam.rendering import Rendered, difference

    if reference is None:
        frozen = Rendered((entry.texts or ())[index], own.token_ids, own.scored)
        shown = difference(frozen, own, ("the exam", "this variant"))
    else:
        frozen = reference.render_once(entry.item.prompts[index], spec.protocol)
        shown = difference(frozen, own, ("the exam", "this variant"), (reference.decode, own_renderer.decode))
    return shown or "its tokens are no longer those that were frozen: the reference tokenizer has changed"


def check_lengths(exam: Exam, variant: str, context: int | None) -> None:
    """Refuse an exam of which an item and its token budget exceed the context of `context` tokens.

    Raises ModelError naming the longest such item; nothing is ever cut.
    """
    if context is None:
        return
    too_long = [e for e in exam.items if e.prompt_tokens is not None and _needed(e, exam) > context]
    if too_long:
        worst = max(too_long, key=lambda e: _needed(e, exam))
        budget = _needed(worst, exam) - (worst.prompt_tokens or 0)
        raise ModelError(
            f"{len(too_long)} of {len(exam.items)} items of {exam.benchmark} do not fit variant '{variant}': "
            f"item '{worst.item.id}' has a prompt of {worst.prompt_tokens} tokens and a budget of {budget}, "
            f"together more than the context of {context}. Raise max_model_len or lower max_tokens"
        )


def _needed(entry: ExamItem, exam: Exam) -> int:
    writes = any(not prompt.continuations for prompt in entry.item.prompts)
    return (entry.prompt_tokens or 0) + (exam.sampling.max_tokens if writes else 0)
