"""Data of the flip browser: every item with what each variant wrote, compressed, of bounded size.

A small index is unpacked when the page opens; texts lie in chunks that are unpacked when they are looked at. Long
texts lose their middle, first those of items on which nothing flipped; the whole text stays in the samples file.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bitparity.exam.frozen import frozen_exams, samples_asked
from bitparity.records import Grade, Item, Prompt, Sample
from bitparity.redaction import redacted
from bitparity.report.gated import Withheld, Withhold, withheld
from bitparity.report.language import percent
from bitparity.report.plain import clean, flat, shortened
from bitparity.results.schema import Results
from bitparity.results.sheet import Sheet, read_sheets
from bitparity.store.jsonl import file_stem
from bitparity.store.run import Run

Text = str | tuple[str, int, str]  # whole, or head, characters left out, tail

STATUSES = ("answered", "no_answer", "cut_off", "infrastructure_error", "missing")
CHANGES = ("lost", "gained", "both_right", "both_wrong", "unscored")
LOST, GAINED, BOTH_RIGHT, BOTH_WRONG, UNSCORED = range(5)

SNIPPET = 300  # characters of a question in the index: shown in the list, and searched
SHORT = 80  # characters of an answer or a reference in the index
EXTRACTED = 6000  # characters of an extracted answer, which may be a program
CHUNK = 400_000  # characters of JSON in one chunk
# Characters of a completion, a question or a reference: (of items that flipped, of others), the first pair that fits
BUDGETS = (
    *((24_000, 4_000), (16_000, 3_000), (12_000, 2_000), (8_000, 1_500), (6_000, 1_200), (4_000, 900), (3_000, 700)),
    *((2_000, 500), (1_500, 350), (1_000, 250), (600, 160), (300, 80)),
)
PROBE = 500  # items whose compressed size tells that of all
CLOSE = 0.95  # a guessed size must lie this far below the limit


_COLUMNS = ("bench", "subgroup", "id", "snippet", "reference")  # fields of Entry that are columns of the index


class Answer(NamedTuple):
    """A variant's answer to one item, one sample of it. `text` is None where it is withheld or missing.

    `status` is a place in STATUSES; `mark` is "1", "0", a percentage, or "" where it is unscored.
    """

    text: Text | None
    extracted: Text
    status: int
    mark: str
    tokens: int | None
    finish: str
    details: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One item: its place in the index, and its texts.

    `changes` has one code a candidate; `short`, `status` and `answers` one entry a variant: what the list shows,
    a bit mask over STATUSES, and the answers, one a sample. `questions` and `references` have one entry, or one a form
    for items asked in several orders (sample k: form k modulo their number); none where they are withheld.
    """

    bench: int
    id: str
    subgroup: int
    snippet: str
    reference: str
    changes: tuple[int, ...]
    short: tuple[str, ...]
    status: tuple[int, ...]
    questions: tuple[Text, ...]
    references: tuple[Text, ...]
    answers: tuple[Sequence[Answer], ...]

    @property
    def flipped(self) -> bool:
        """True if some candidate lost or gained it."""
        return any(change in (LOST, GAINED) for change in self.changes)


@dataclass(frozen=True, slots=True)
class Bench:
    """A benchmark as the browser names it. `withheld`: why questions and answers stay out; "" where they are in."""

    name: str
    stem: str
    subgroups: tuple[str, ...]
    samples: int
    withheld: Withheld


@dataclass(frozen=True, slots=True)
class Book:
    """All items of a run. `compared` holds (number of the variant, whether it is the control)."""

    variants: tuple[str, ...]
    baseline: int
    compared: tuple[tuple[int, bool], ...]
    benches: tuple[Bench, ...]
    entries: tuple[Entry, ...]
    lengths: Mapping[str, Mapping[str, Sequence[int]]]  # benchmark -> variant -> tokens of each completion


class Packed(NamedTuple):
    """Index of the items and chunks, as base64 of gzip of JSON. `left_out` counts items for which there was no room."""

    items: str
    chunks: list[str]
    left_out: int

    @property
    def size(self) -> int:
        """Characters of all parts, with what stands around each of them in the page."""
        return len(self.items) + sum(len(chunk) + 100 for chunk in self.chunks)


def collect(run: Run, results: Results, withhold: Withhold) -> Book:
    """Read a run's exams, samples and grades. Raises RunError or StoreError where its files cannot be used."""
    return book_of(results, _parts(run, results, withhold))


Contents = tuple[Bench, Sequence[Item], Mapping[str, Sheet]]  # a benchmark with its items, and each variant's sheet


def _parts(run: Run, results: Results, withhold: Withhold) -> Iterator[Contents]:
    study = run.study()
    for spec, exam in frozen_exams(run, study):
        if results.benchmarks[spec.name].measured:
            subgroups = tuple(sorted({e.item.subgroup for e in exam.items if e.item.subgroup is not None}))
            why = withheld(spec.name, exam.provenance, withhold)
            bench = Bench(spec.name, file_stem(spec.name), subgroups, samples_asked(exam, spec), why)
            yield bench, [entry.item for entry in exam.items], read_sheets(run, study, exam, spec)


def book_of(results: Results, parts: Iterable[Contents]) -> Book:
    """The book of these benchmarks, with the variants of `results`."""
    names, baseline = list(results.variants), results.baseline
    compared = [*results.candidates, *([results.control] if results.control else [])]
    benches: list[Bench] = []
    entries: list[Entry] = []
    lengths: dict[str, dict[str, list[int]]] = {}
    for bench, items, sheets in parts:
        entries += _entries(len(benches), bench, items, sheets, baseline, compared)
        benches.append(bench)
        lengths[bench.name] = {name: answer_lengths(sheet) for name, sheet in sheets.items()}
    pairs = tuple((names.index(name), name == results.control) for name in compared)
    return Book(tuple(names), names.index(baseline), pairs, tuple(benches), tuple(entries), lengths)


def answer_lengths(sheet: Sheet) -> list[int]:
    """The tokens of each completion that was written, ended and counted."""
    written = (s for s in sheet.samples.values() if s.finish != "error" and s.logprobs is None)
    return [s.tokens for s in written if s.tokens is not None]


def changes(baseline: Sheet, candidate: Sheet) -> list[int]:
    """One code of CHANGES an item, by the rule of `PairedScores.flips`: right is a mean over the samples above 1/2."""
    whole = baseline.whole() & candidate.whole()
    before, after = (sheet.scores.mean(axis=1) > 0.5 for sheet in (baseline, candidate))
    codes = {(True, False): LOST, (False, True): GAINED, (True, True): BOTH_RIGHT, (False, False): BOTH_WRONG}
    return [codes[bool(b), bool(a)] if scored else UNSCORED for scored, b, a in zip(whole, before, after, strict=True)]


def _entries(
    number: int, bench: Bench, items: Sequence[Item], sheets: Mapping[str, Sheet], baseline: str, compared: list[str]
) -> Iterable[Entry]:
    """The entries of one benchmark, the `number`-th of the book; `compared` names candidates and control."""
    columns = [changes(sheets[baseline], sheets[name]) for name in compared]
    for row, item in enumerate(items):
        codes = tuple(column[row] for column in columns)
        most = BUDGETS[0][0 if any(code in (LOST, GAINED) for code in codes) else 1]
        keys = [(item.id, k) for k in range(bench.samples)]
        answers = tuple(
            [_answer(sheet.samples.get(key), sheet.grades.get(key), bench, most) for key in keys]
            for sheet in sheets.values()
        )
        questions = [] if bench.withheld else [clean(text) for text in question_texts(item)]
        references = [] if bench.withheld else [clean(text) for text in reference_texts(item)]
        yield Entry(
            bench=number,
            id=shortened(item.id, 300),
            subgroup=-1 if item.subgroup is None else bench.subgroups.index(item.subgroup),
            snippet="" if bench.withheld else " ".join(_last(item.prompts[0], SNIPPET).split()),
            reference=" ".join("".join(references[:1])[:SHORT].split()),
            changes=codes,
            short=tuple(
                _short(sheet, row, found, bench) for sheet, found in zip(sheets.values(), answers, strict=True)
            ),
            status=tuple(sum({1 << answer.status for answer in found}) for found in answers),
            questions=tuple(cut(text, most) for text in questions),
            references=tuple(cut(text, most) for text in references),
            answers=answers,
        )


def _short(sheet: Sheet, row: int, answers: Sequence[Answer], bench: Bench) -> str:
    """A variant's cell in the list: its answer; its mean score with several samples, or where texts stay out."""
    if bench.samples == 1 and bench.withheld != "asked":
        return " ".join(str(answers[0].extracted)[:SHORT].split())
    scores = sheet.scores[row]
    return "" if np.isnan(scores).any() else percent(float(scores.mean()))


def _answer(sample: Sample | None, grade: Grade | None, bench: Bench, most: int) -> Answer:
    if sample is None:
        return Answer(None, "", STATUSES.index("missing"), "", None, "", [])
    status = STATUSES.index("infrastructure_error" if grade is None else grade.status)
    score = None if grade is None else grade.score
    mark = "" if score is None else f"{score:.0f}" if score in (0, 1) else percent(score)
    extracted = "" if grade is None or grade.extracted is None else shortened(grade.extracted, EXTRACTED)
    if bench.withheld:  # the letter of an option says nothing about the question
        kept = extracted if bench.withheld == "gated" and len(extracted) == 1 else ""
        return Answer(None, kept, status, mark, sample.tokens, sample.finish, [])
    details = [] if grade is None else flat(grade.details, most=20)
    if sample.logprobs is not None:
        details.append(("log-probabilities", ", ".join(f"{value:.2f}" for value, _ in sample.logprobs)))
    if sample.error is not None:
        details.append(("error", shortened(sample.error, 500)))
    return Answer(cut(clean(sample.text), most), extracted, status, mark, sample.tokens, sample.finish, details)


def _last(prompt: Prompt, most: int) -> str:
    """The beginning of the last user message, or the end of a plain prompt, where the question stands."""
    if prompt.messages is None:
        return clean((prompt.text or "")[-most:])
    said = [message["content"] for message in prompt.messages if message["role"] == "user"]
    return clean((said or [""])[-1][:most])


def question_texts(item: Item) -> list[str]:
    """The questions as asked, one text a form; log-likelihood items, whose contexts differ by choice, have one form."""
    if any(prompt.continuations for prompt in item.prompts):
        return ["\n\n".join(map(_asked, item.prompts))]
    return [_asked(prompt) for prompt in item.prompts]


def _asked(prompt: Prompt) -> str:
    if prompt.messages is None:
        asked = prompt.text or ""
    elif len(prompt.messages) == 1:
        asked = prompt.messages[0]["content"]
    else:
        asked = "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in prompt.messages)
    choices = "".join(f"\n→ {continuation}" for continuation in prompt.continuations)
    return asked + ("\n" + choices if choices else "")


def reference_texts(item: Item) -> list[str]:
    """The reference as people read it; one a form where each form has its own."""
    reference = item.reference
    own = isinstance(reference, list) and len(item.prompts) > 1 and len(reference) == len(item.prompts)
    return [_written(each) for each in (reference if own else [reference])]


def _written(reference: object) -> str:
    if reference is None:
        return ""
    if isinstance(reference, str | int | float):
        return str(reference)
    return json.dumps(reference, ensure_ascii=False, indent=1)


def cut(text: Text, most: int) -> Text:
    """At most so many characters of a text: two fifths from its head, the rest from its tail, where answers stand."""
    if isinstance(text, str):
        if len(text) <= most:
            return text
        text = (text, 0, text)
    head, left_out, tail = text
    before, after = 2 * most // 5, most - 2 * most // 5
    dropped = max(0, len(head) - before) + max(0, len(tail) - after) if left_out else len(head) - most
    return head[:before], left_out + dropped, tail[-after:]


def pack(book: Book, limit: int) -> Packed:
    """The whole book in at most `limit` characters: texts are cut shorter and shorter, at last items left out."""
    for budget in _fitting_budgets(book, limit):
        packed = _pack(book, book.entries, budget)
        if packed.size <= limit:
            return packed
    # even the shortest texts do not fit: items are left out, first those on which nothing flipped
    entries = tuple(sorted(book.entries, key=lambda entry: not entry.flipped))
    while entries:
        entries = entries[: len(entries) // 2]
        kept = tuple(sorted(entries, key=lambda entry: entry.bench))
        packed = _pack(book, kept, BUDGETS[-1])
        if packed.size <= limit:
            return packed
    return _pack(book, (), BUDGETS[-1])


def _fitting_budgets(book: Book, limit: int) -> Sequence[tuple[int, int]]:
    """The budgets worth a try: from the first on whose size, guessed from some of the items, fits."""
    # to compress everything a dozen times would take longer than to make the rest of the page
    some = book.entries[:: max(1, len(book.entries) // PROBE)]
    share = len(some) / max(1, len(book.entries))
    for position, budget in enumerate(BUDGETS):
        if _pack(book, some, budget).size <= CLOSE * limit * share:
            return BUDGETS[position:]
    return ()


def _pack(book: Book, entries: Sequence[Entry], budget: tuple[int, int]) -> Packed:
    starts: list[int] = []
    with ThreadPoolExecutor() as threads:  # zlib lets other threads work
        chunks = list(threads.map(_squeezed, _chunks(entries, budget, starts)))
    return Packed(_squeezed(_json(_index(book, entries, starts))), chunks, len(book.entries) - len(entries))


def _chunks(entries: Sequence[Entry], budget: tuple[int, int], starts: list[int]) -> Iterator[str]:
    """The texts of the entries as JSON lists of about CHUNK characters; `starts` takes each one's first entry."""
    held: list[str] = []
    size = 0
    for number, entry in enumerate(entries):
        if not held:
            starts.append(number)
        held.append(_json(_texts(entry, budget[not entry.flipped])))
        size += len(held[-1])
        if size > CHUNK or number == len(entries) - 1:
            yield f"[{','.join(held)}]"
            held, size = [], 0


def _texts(entry: Entry, most: int) -> tuple[list[Text], list[Text], list[list[Answer]]]:
    def shorter(answer: Answer) -> Answer:
        return answer._replace(text=answer.text and cut(answer.text, most), extracted=cut(answer.extracted, most))

    questions, references = ([cut(text, most) for text in texts] for texts in (entry.questions, entry.references))
    return questions, references, [list(map(shorter, found)) for found in entry.answers]


def _index(book: Book, entries: Sequence[Entry], starts: Sequence[int]) -> dict[str, object]:
    """Columns over the items; codes as one character an item."""
    return {
        "variants": [clean(name) for name in book.variants],
        "baseline": book.baseline,
        "compared": book.compared,
        "benches": [
            [shortened(b.name, 200), b.stem, [shortened(s, 200) for s in b.subgroups], b.samples, b.withheld]
            for b in book.benches
        ],
        "starts": starts,
        **{key: [getattr(entry, key) for entry in entries] for key in _COLUMNS},
        "changes": ["".join(str(e.changes[c]) for e in entries) for c in range(len(book.compared))],
        "status": ["".join(f"{e.status[v]:02x}" for e in entries) for v in range(len(book.variants))],
        "short": [[entry.short[v] for entry in entries] for v in range(len(book.variants))],
    }


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _squeezed(text: str) -> str:
    # without a time in it, so that the same results give the same bytes
    # what is packed cannot be looked through when the page is written
    return base64.b64encode(gzip.compress(redacted(text).encode(), 6, mtime=0)).decode("ascii")
