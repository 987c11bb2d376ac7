"""The exam: the frozen items of a benchmark with their final prompts. Every variant sits the same one.

The first run builds it with the baseline's tokenizer and chat template and stores, for each item, the
messages, the prompt's text and the hash of its tokens. Any later rendering, by another variant or by a
later process, must give the same tokens or is refused with the difference shown.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
from array import array
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from bitparity.benchmarks import Benchmark, load_benchmark
from bitparity.errors import DataError, ModelError, StoreError
from bitparity.records import Item, Prompt, Request, Sampling, Unrendered
from bitparity.store import Run, read_lines, write_atomically
from bitparity.study import BenchmarkSpec, ReasoningSpec

if TYPE_CHECKING:
    from bitparity.prompts import Rendered, Renderer

SCHEMA = "bitparity/exam/1"
CONTROL_SALT = "control\0"


@dataclass(frozen=True, slots=True)
class ExamItem:
    """One item with what each of its prompts became: text and SHA-256 of the tokens (None: no tokenizer)."""

    item: Item
    texts: tuple[str, ...] | None = None
    hashes: tuple[str, ...] | None = None
    prompt_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Exam:
    """The exam of one benchmark.

    `available` is how many items the data set has, before any limit; `notes` says what of the protocol the
    model's chat template did not take; `sha256` is the hash of the items once they are frozen.
    """

    benchmark: str
    metric: str
    sampling: Sampling
    seed: int
    reasoning_end: str | None
    items: tuple[ExamItem, ...]
    available: int
    provenance: dict[str, Any]
    notes: tuple[str, ...] = ()
    sha256: str | None = None

    @property
    def rendered(self) -> bool:
        """Whether a tokenizer has turned the prompts into tokens."""
        return bool(self.items) and self.items[0].hashes is not None


def build(spec: BenchmarkSpec, renderer: Renderer | None) -> Exam:
    """Build one exam from the benchmark's data.

    Items are put in the order of a hash of their ids, so that a limit is a fair subset and a prefix of the
    full run; lm-eval tasks keep lm-eval's order. Items that come one after another stay together, so that
    a limit never takes one without those before it. Raises DataError where there is no item or an id repeats.
    """
    benchmark = load_benchmark(spec)
    items = list(benchmark.items())
    _check_ids(items, spec.name)
    available = len(items)
    if not benchmark.fixed_order:
        first = _first_items(items)
        items = sorted(items, key=lambda item: _digest(f"{spec.name}\0{first[item.id]}"))
        items = items[: spec.limit]
    reasoning = spec.protocol.reasoning
    notes = set() if renderer is None else _unused(spec, renderer)
    notes |= set(benchmark.notes())
    entries = tuple(_exam_item(item, spec, renderer, notes) for item in items)
    return Exam(
        benchmark=spec.name,
        metric=benchmark.metric,
        sampling=spec.protocol.sampling(benchmark.task_settings()),
        seed=spec.protocol.seed,
        reasoning_end=reasoning.end if isinstance(reasoning, ReasoningSpec) else None,
        items=entries,
        available=_available(benchmark, available),
        provenance=benchmark.provenance(),
        notes=tuple(sorted(notes)),
    )


def _first_items(items: Sequence[Item]) -> dict[str, str]:
    """For each item the first of those that it comes after, by id; itself where it comes after none."""
    first: dict[str, str] = {}
    for item in items:
        if item.after is not None and item.after not in first:
            raise DataError(f"item '{item.id}' comes after '{item.after}', which does not come before it")
        first[item.id] = item.id if item.after is None else first[item.after]
    return first


def _unused(spec: BenchmarkSpec, renderer: Renderer) -> set[str]:
    if not spec.protocol.apply_chat_template:
        return set()
    return {
        f"the chat template never looks at '{name}' of chat_template_args: setting it changes nothing"
        for name in renderer.unused_template_args(spec.protocol)
    }


def _available(benchmark: Benchmark, seen: int) -> int:
    """A benchmark that limits by itself tells how many items there were."""
    return int(benchmark.provenance().get("available", seen))


def _check_ids(items: Sequence[Item], name: str) -> None:
    if not items:
        raise DataError(f"benchmark '{name}' has no items; check its data file")
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise DataError(f"benchmark '{name}': item id '{item.id}' occurs twice; ids must be unique")
        seen.add(item.id)


def _exam_item(item: Item, spec: BenchmarkSpec, renderer: Renderer | None, notes: set[str]) -> ExamItem:
    if renderer is None:
        return ExamItem(item)
    rendered = [renderer.render_once(prompt, spec.protocol) for prompt in item.prompts]
    if any(r.system_dropped for r in rendered):
        notes.add("the chat template takes no system message, so the benchmark's own was left out")
    return ExamItem(
        item,
        tuple(r.text for r in rendered),
        tuple(token_hash(r) for r in rendered),
        max(_longest(r) for r in rendered),
    )


def _longest(rendered: Rendered) -> int:
    """Tokens of the longest input that the prompt makes, continuations included."""
    scored = rendered.scored or ()
    return max([len(rendered.token_ids), *(len(context) + len(rest) for context, rest in scored)])


def token_hash(rendered: Rendered) -> str:
    """SHA-256 over the token ids of a prompt and of its continuations, 32 hex digits."""
    digest = hashlib.sha256(array("q", rendered.token_ids).tobytes())
    for context, continuation in rendered.scored or ():
        digest.update(b"|" + array("q", context).tobytes() + b">" + array("q", continuation).tobytes())
    return digest.hexdigest()[:32]


def save(exam: Exam, path: Path) -> Exam:
    """Freeze an exam in the run directory: a header line with the hash of all item lines, then the items.

    Returns it with that hash.
    """
    lines = [json.dumps(_item_row(entry), ensure_ascii=False) + "\n" for entry in exam.items]
    exam = replace(exam, sha256=_lines_hash(lines))
    header = {
        "schema": SCHEMA,
        "benchmark": exam.benchmark,
        "metric": exam.metric,
        "sampling": asdict(exam.sampling),
        "seed": exam.seed,
        "reasoning_end": exam.reasoning_end,
        "items": len(lines),
        "available": exam.available,
        "provenance": exam.provenance,
        "notes": list(exam.notes),
        "sha256": exam.sha256,
    }
    write_atomically(path, [json.dumps(header, ensure_ascii=False) + "\n", *lines])
    return exam


def load(path: Path) -> Exam:
    """Read a frozen exam. Raises StoreError where it is not what was frozen."""
    try:
        return _load(path)
    except (KeyError, TypeError):
        raise StoreError(f"{path} is not an exam of this version of bitparity; start a new run with --out") from None


def _load(path: Path) -> Exam:
    rows = read_lines(path)
    header = next(rows, None)
    if header is None or header.get("schema") != SCHEMA:
        raise StoreError(f"{path} is not an exam of this version of bitparity; start a new run with --out")
    entries = []
    digest = hashlib.sha256()
    for row in rows:
        digest.update((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass"))
        entries.append(_item_from_row(row))
    if digest.hexdigest() != header["sha256"] or len(entries) != header["items"]:
        raise StoreError(f"{path} was changed after it was frozen; start a new run with --out")
    sampling = Sampling(**{**header["sampling"], "stop": tuple(header["sampling"]["stop"])})
    return Exam(
        benchmark=header["benchmark"],
        metric=header["metric"],
        sampling=sampling,
        seed=header["seed"],
        reasoning_end=header["reasoning_end"],
        items=tuple(entries),
        available=header["available"],
        provenance=header["provenance"],
        notes=tuple(header["notes"]),
        sha256=header["sha256"],
    )


def load_if_frozen(run: Run, benchmark: str) -> Exam | None:
    """The exam of a benchmark where the run has one."""
    path = run.exam_path(benchmark)
    return load(path) if path.exists() else None


def samples_asked(exam: Exam, spec: BenchmarkSpec) -> int:
    """Samples of each item: one where every answer is a log-likelihood, which repeats exactly."""
    scored = all(any(prompt.continuations for prompt in entry.item.prompts) for entry in exam.items)
    return 1 if scored else spec.samples


def groups_of(exam: Exam) -> list[str] | None:
    """The group of each item, itself where it has none; None where no item has one."""
    if all(entry.item.group is None for entry in exam.items):
        return None
    return [entry.item.group or entry.item.id for entry in exam.items]


def _lines_hash(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _item_row(entry: ExamItem) -> dict[str, Any]:
    item = entry.item
    prompts = [
        {
            "messages": prompt.messages and list(prompt.messages),
            "text": prompt.text,
            "continuations": list(prompt.continuations),
            "prompt": entry.texts[index] if entry.texts else None,
            "tokens_sha256": entry.hashes[index] if entry.hashes else None,
        }
        for index, prompt in enumerate(item.prompts)
    ]
    return {
        "id": item.id,
        "prompts": prompts,
        "prompt_tokens": entry.prompt_tokens,
        "reference": item.reference,
        "group": item.group,
        "subgroup": item.subgroup,
        "metadata": item.metadata,
        "after": item.after,
    }


def _item_from_row(row: dict[str, Any]) -> ExamItem:
    rendered = row["prompt_tokens"] is not None
    prompts = tuple(
        Prompt(
            messages=None if p["messages"] is None else tuple(p["messages"]),
            text=p["text"],
            continuations=tuple(p["continuations"]),
        )
        for p in row["prompts"]
    )
    item = Item(row["id"], prompts, row["reference"], row["group"], row["subgroup"], row["metadata"], row["after"])
    if not rendered:
        return ExamItem(item)
    return ExamItem(
        item,
        tuple(p["prompt"] for p in row["prompts"]),
        tuple(p["tokens_sha256"] for p in row["prompts"]),
        row["prompt_tokens"],
    )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


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


def requests(
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
    from bitparity.prompts import unrendered

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
    from bitparity.prompts import Rendered, difference

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
