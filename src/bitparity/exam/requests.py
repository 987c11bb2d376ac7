"""Requests of an exam for one variant, each refused where the variant would be shown another prompt."""

from __future__ import annotations

import bisect
import itertools
from array import array
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

from bitparity.errors import ModelError
from bitparity.exam.build import digest, token_hash
from bitparity.exam.frozen import Exam, ExamItem
from bitparity.exam.rendering import Renderer, difference, unrendered
from bitparity.exam.spot_check import Drawn
from bitparity.models.tokenizer import Ids, Rendered, Scored
from bitparity.records import Item, Prompt, Request, SampleKey
from bitparity.schema import BenchmarkSpec

CONTROL_SALT = "control\0"


def sample_seed(seed: int, benchmark: str, item: str, sample: int, salt: str = "") -> int:
    """The seed of one sample, the same for every variant: from the protocol's seed and the sample's key.

    With a `salt` the control gets other seeds than the baseline.
    """
    # 31 bits: a positive number for every engine, signed or not
    return int.from_bytes(digest(f"{salt}{seed}\0{benchmark}\0{item}\0{sample}")[:4], "big") >> 1


@dataclass(frozen=True, slots=True)
class Examinee:
    """A variant that is asked an exam, with its own tokenizer; `reference` is the one that made the exam.

    Without `renderer`, as for recorded answers, requests hold no tokens. The `control` gets other seeds in another
    order; with `drawn`, by benchmark, it is asked these answers alone, with the baseline's seeds. For a `served` model,
    requests also hold the prompt as a server takes it.
    """

    variant: str
    renderer: Renderer | None = None
    reference: Renderer | None = None
    control: bool = False
    served: bool = False
    drawn: Drawn | None = None

    def requests(self, exam: Exam, spec: BenchmarkSpec) -> BenchmarkRequests:
        """All requests of a benchmark, in the exam's order, the spec's samples of each item together.

        Items whose prompt is built on an earlier answer (`Item.after`) are checked and left out: see `follow_up`.
        Raises ModelError where the variant's rendering gives other tokens than the exam's, or a server would have to
        score continuations that nobody has turned into tokens.
        """
        prompts = [(entry.item, *self._tokens(exam, spec, entry)) for entry in exam.items]
        return BenchmarkRequests(self, exam, spec, [_AskedItem(*p) for p in prompts if p[0].after is None])

    def _tokens(self, exam: Exam, spec: BenchmarkSpec, entry: ExamItem) -> tuple[tuple[Ids, ...], Scored]:
        if self.renderer is None:
            if self.served and any(prompt.continuations for prompt in entry.item.prompts):
                raise ModelError(
                    f"{exam.benchmark} needs the log-likelihood of given texts, which takes their tokens: give variant "
                    f"'{self.variant}' the key 'tokenizer' with the served model's folder or hub id, or leave this "
                    "benchmark out"
                )
            return (), None
        rendered = [self.renderer.render_once(prompt, spec.protocol) for prompt in entry.item.prompts]
        self._check_same(exam, spec, entry, rendered)
        scored = tuple(pair for r in rendered for pair in r.scored or ())
        return tuple(r.token_ids for r in rendered), scored or None

    def follow_up(self, exam: Exam, spec: BenchmarkSpec, entry: ExamItem, sample: int, prompt: Prompt) -> Request:
        """The request of an item whose prompt is built on earlier answers; the same checks as for any other.

        Raises ModelError where the variant's rendering gives other tokens than the reference's.
        """
        if self.renderer is None:
            return self.request(exam, spec, entry.item, sample, prompt)
        rendered = self.renderer.render(prompt, spec.protocol)
        if self.reference is not None and self.reference is not self.renderer:
            right = self.reference.render(prompt, spec.protocol)
            whole = ExamItem(replace(entry.item, prompts=(prompt,)), (right.text,), (token_hash(right),))
            self._check_same(exam, spec, whole, [rendered])
        return self.request(exam, spec, entry.item, sample, prompt, rendered.token_ids)

    def request(
        self,
        exam: Exam,
        spec: BenchmarkSpec,
        item: Item,
        sample: int,
        prompt: Prompt,
        token_ids: Ids | None = None,
        scored: Scored = None,
    ) -> Request:
        """One request, of a prompt that has been checked."""
        salt = CONTROL_SALT if self.control and self.drawn is None else ""
        return Request(
            benchmark=exam.benchmark,
            item=item.id,
            sample=sample,
            sampling=exam.sampling,
            seed=sample_seed(exam.seed, exam.benchmark, item.id, sample, salt),
            token_ids=token_ids,
            scored=scored,
            reasoning_end=exam.reasoning_end,
            unrendered=unrendered(prompt, spec.protocol) if self.served and not prompt.continuations else None,
        )

    def _check_same(self, exam: Exam, spec: BenchmarkSpec, entry: ExamItem, rendered: Sequence[Rendered]) -> None:
        for index, (own, frozen) in enumerate(zip(rendered, entry.hashes or (), strict=False)):
            if token_hash(own) != frozen:
                raise ModelError(
                    f"variant '{self.variant}' does not sit the same exam: item '{entry.item.id}' of {exam.benchmark} "
                    f"becomes another prompt ({self._difference(spec, entry, index, own)}). Its tokenizer or chat "
                    "template differs from the baseline's; copy the baseline's files into it or set the variant's "
                    "'tokenizer' to the baseline's model"
                )

    def _difference(self, spec: BenchmarkSpec, entry: ExamItem, index: int, own: Rendered) -> str:
        """The first place where the frozen prompt and the variant's own differ, in one line."""
        frozen, decode = Rendered((entry.texts or ())[index], own.token_ids, own.scored), None
        if self.reference is not None and self.renderer is not None:
            frozen = self.reference.render_once(entry.item.prompts[index], spec.protocol)
            decode = self.reference.decode, self.renderer.decode
        shown = difference(frozen, own, ("the exam", "this variant"), decode)
        return shown or "its tokens are no longer those that were frozen: the reference tokenizer has changed"


@dataclass(frozen=True, slots=True)
class _AskedItem:
    """An item that can be asked at once, with the tokens of its prompts or the continuations to score."""

    item: Item
    tokens: tuple[Ids, ...]
    scored: Scored


class BenchmarkRequests(Sequence[Request]):
    """The requests of a benchmark for one variant, each made when it is read: a study may have millions.

    Memory: 4 bytes a request for the control, none for others.
    """

    def __init__(self, examinee: Examinee, exam: Exam, spec: BenchmarkSpec, items: Sequence[_AskedItem]) -> None:
        self.benchmark = exam.benchmark
        self._examinee, self._exam, self._spec, self._items = examinee, exam, spec, items
        self._order: Sequence[int] = range(len(items) * spec.samples)
        if examinee.drawn is not None:
            drawn = examinee.drawn[exam.benchmark]
            self._order = [place for place in self._order if self._key(place) in drawn]
        if examinee.control:
            self._order = array("I", sorted(self._order, key=self._control_order))

    def _key(self, place: int) -> SampleKey:
        number, sample = divmod(place, self._spec.samples)
        return self._items[number].item.id, sample

    def _control_order(self, place: int) -> bytes:
        return digest("{}\0{}\0{}".format(CONTROL_SALT, *self._key(place)))

    def __len__(self) -> int:
        return len(self._order)

    def unanswered(self, done: Container[SampleKey]) -> array[int]:
        """The indices of the requests whose sample is not in `done`."""
        samples = range(self._spec.samples)
        # a byte for each request, since there may be millions
        waiting = bytearray((entry.item.id, sample) not in done for entry in self._items for sample in samples)
        return array("I", (index for index, place in enumerate(self._order) if waiting[place]))

    def __getitem__(self, index: int) -> Request:  # type: ignore[override]  # nobody takes slices
        number, sample = divmod(self._order[index], self._spec.samples)
        entry = self._items[number]
        prompt = entry.item.prompts[sample % len(entry.item.prompts)]
        tokens = entry.tokens[sample % len(entry.tokens)] if entry.tokens else None
        return self._examinee.request(self._exam, self._spec, entry.item, sample, prompt, tokens, entry.scored)


class UnansweredRequests(Sequence[Request]):
    """The requests of several benchmarks that have no answer, each made when it is read. Memory: 4 bytes a request."""

    def __init__(self, requests: Mapping[str, BenchmarkRequests], done: Mapping[str, Container[SampleKey]]) -> None:
        self._parts = [(asked, asked.unanswered(done[name])) for name, asked in requests.items()]
        self._starts = list(itertools.accumulate((len(left) for _, left in self._parts), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Request:  # type: ignore[override]  # nobody takes slices
        part = bisect.bisect_right(self._starts, index) - 1
        requests, left = self._parts[part]
        return requests[left[index - self._starts[part]]]

    def spans(self) -> list[tuple[str, int, int]]:
        """(benchmark, start, stop) of each benchmark's requests."""
        bounds = zip(self._parts, itertools.pairwise(self._starts), strict=True)
        return [(requests.benchmark, start, stop) for (requests, _), (start, stop) in bounds if start < stop]


def check_lengths(exam: Exam, variant: str, context: int | None) -> None:
    """Refuse an exam of which an item and its token budget exceed the context of `context` tokens.

    Raises ModelError naming the longest such item; nothing is ever cut.
    """

    def needed(entry: ExamItem) -> int:
        return 0 if entry.prompt_tokens is None else entry.prompt_tokens + _budget(entry, exam)

    too_long = [entry for entry in exam.items if context is not None and needed(entry) > context]
    if too_long:
        worst = max(too_long, key=needed)
        raise ModelError(
            f"{len(too_long)} of {len(exam.items)} items of {exam.benchmark} do not fit variant '{variant}': "
            f"item '{worst.item.id}' has a prompt of {worst.prompt_tokens} tokens and a budget of "
            f"{_budget(worst, exam)}, together more than the context of {context}. Raise max_model_len or lower "
            "max_tokens"
        )


def _budget(entry: ExamItem, exam: Exam) -> int:
    """Tokens that an answer may have: none where only given continuations are scored."""
    return exam.sampling.max_tokens if any(not prompt.continuations for prompt in entry.item.prompts) else 0
