"""Names in somebody's own table: the variant of a column, the benchmark of a row; tolerant of spelling only.

"**MMLU-Pro**", "mmlu_pro" and "ＭＭＬＵ　Ｐｒｏ" are one benchmark; "MMLU", "AIME 2025", "HumanEval+" and "FP8 latency"
are something else. A label may say more than the name only in words that change nothing; with any other word it does
not match: an empty cell is better than a figure in the wrong one.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bitparity.benchmarks.registry import infos
from bitparity.inputs.packaged import packaged_toml
from bitparity.results.schema import Benchmark, VariantEntry
from bitparity.schema import LM_EVAL_PREFIX

_TABLE = packaged_toml(__package__, "labels.toml")


# the words under each key of `labels.toml`, which explains them
_WORDS = {key: frozenset(words.split()) for key, words in _TABLE.items() if isinstance(words, str)}

_UNIT = re.compile(r"[a-z0-9]+(?:@[a-z0-9]+)?|[\u3400-\u9fff]+|[^\W\d_a-z\u3400-\u9fff]+|\S")
_BENIGN = frozenset("↑↓→|~<>=•·※★☆")  # symbols that change nothing; + ± Δ and other signs do

_SCHEMES = _WORDS["schemes"]
_PRECISIONS = {word: {word, *others.split()} for word, others in _TABLE["precisions"].items()}
_PRECISIONS |= {word: {word} for word in _SCHEMES}
_CANONICAL = {spelling: word for word, spellings in _PRECISIONS.items() for spelling in spellings}


def units(label: str) -> list[str]:
    """The words of a label in one spelling: half-width, lower case, no punctuation; other scripts apart."""
    plain = unicodedata.normalize("NFKC", re.sub(r"\[\^[^\]]*\]", " ", label)).casefold()
    plain = re.sub(r"(?<=\w)['’](?=s?\b)", "", plain)  # humanity's, aime'24
    return [unit for unit in _UNIT.findall(plain) if unit not in _BENIGN and not _is_punctuation(unit)]


def _is_punctuation(unit: str) -> bool:
    category = unicodedata.category(unit) if len(unit) == 1 else ""
    return category[:1] in ("P", "C", "Z") or category in ("So", "Sk", "Mn")


def _rest(found: list[str], name: str) -> list[str] | None:
    """The units beside those that spell a name; None where no run of whole units does."""
    for start in range(len(found)):
        for end in range(start + 1, len(found) + 1):
            if "".join(found[start:end]) == name:
                return found[:start] + found[end:]
    return None


def is_notes(header: str) -> bool:
    """True if a column is for notes."""
    return _said_by(units(header), "notes")


def _said_by(found: Sequence[str], key: str) -> bool:
    """True if a label says something, and nothing but words under a key."""
    return bool(found) and _WORDS[key].issuperset(found)


@dataclass(slots=True)
class Columns:
    """The meaning of a header's columns. `variants` and `labels` by column from 0; `unmatched` with the reason."""

    variants: dict[int, str] = field(default_factory=dict)
    labels: list[int] = field(default_factory=list)
    notes: int | None = None
    unmatched: dict[int, str] = field(default_factory=dict)


def match_columns(header: Iterable[str], variants: Mapping[str, VariantEntry]) -> Columns:
    """The variant of each column; `variants` are those of results.json."""
    columns = Columns()
    exact: dict[int, str] = {}
    close: dict[int, str] = {}
    for number, label in enumerate(header):
        found = units(label)
        joined = "".join(found)
        if is_notes(label):
            columns.notes = number if columns.notes is None else columns.notes
        elif joined and (name := next((n for n, v in variants.items() if joined in _full_names(n, v)), None)):
            exact[number] = name
        else:
            name, reason = _by_precision(found, variants)
            if name is not None:
                close[number] = name
            elif reason is not None:
                columns.unmatched[number] = reason
            else:
                columns.labels.append(number)
    # each variant gets the column with its very name before one that only names its precision
    both = {**exact, **close}
    for number, name in both.items():
        rivals = exact if number in exact else both
        if list(rivals.values()).count(name) > 1:
            columns.unmatched[number] = f"another column stands for variant '{name}' too"
        else:
            columns.variants[number] = name
    return columns


def _full_names(name: str, variant: VariantEntry) -> set[str]:
    names = [name] if variant.control else [name, variant.model, variant.model.rsplit("/", 1)[-1]]
    return {"".join(units(each)) for each in names}


def _by_precision(found: list[str], variants: Mapping[str, VariantEntry]) -> tuple[str | None, str | None]:
    """The variant whose precision a header names; without one, why a header that names a precision has none."""
    named = {_CANONICAL[unit] for unit in found if unit in _CANONICAL}
    if len(named) > 1:
        named -= _SCHEMES  # "NVFP4 (W4A4)" says one thing twice
    if not named:
        only = _said_by(found, "baseline")
        return next((name for name, v in variants.items() if v.baseline and only), None), None
    if len(named) > 1:
        return None, "it names several precisions"
    word = next(iter(named))
    fitting = [name for name, v in variants.items() if not v.control and word in _precisions(name, v)]
    if not fitting:
        return None, "it names no variant of this run"
    if len(fitting) > 1:
        return None, f"several variants are {word} ({', '.join(fitting)}); name the column like one of them"
    harmless = _WORDS["column"] | _PRECISIONS[word] | _SCHEMES | set(units(variants[fitting[0]].model))
    if more := _more(found, harmless, "column_chinese"):
        return None, f"it says more than a variant's name ({' '.join(more)})"
    return fitting[0], None


def _precisions(name: str, variant: VariantEntry) -> set[str]:
    """The precision words of a variant: in its name, else in its model's, else as its engine has loaded it."""
    for said in (name, variant.model.rsplit("/", 1)[-1]):
        if found := {_CANONICAL[unit] for unit in units(said) if unit in _CANONICAL}:
            return found
    engine = variant.engine or {}
    unquantized = "quantization" in engine and not engine["quantization"]
    return {word for word in [_CANONICAL.get(str(engine.get("dtype")))] if unquantized and word}


def _more(found: Iterable[str], harmless: Collection[str], chinese: str) -> list[str]:
    """The units that are no harmless words; `chinese` is the key of the harmless Chinese ones."""
    words = re.compile(f"(?:{'|'.join(_WORDS[chinese])})+")
    return [unit for unit in found if unit not in harmless and not words.fullmatch(unit)]


@dataclass(frozen=True, slots=True)
class RowMatch:
    """The benchmark that a row names, and which of the labels names it.

    Without a benchmark, `reason` says why, or is None where the row says nothing.
    """

    benchmark: str | None
    reason: str | None = None
    label: int | None = None


_infos = functools.cache(infos)


def match_row(labels: Iterable[str], benchmarks: Mapping[str, Benchmark]) -> RowMatch:
    """The benchmark that the label cells of a row name: one of `benchmarks`, those of results.json, or another one.

    Benchmarks without a data set of their own stand in no published table and count as known only where they ran.
    """
    said = [units(label) for label in labels]
    names = dict.fromkeys([*benchmarks, *(name for name, info in _infos().items() if info.source is not None)])
    harmless = {name: _harmless(name, benchmarks.get(name)) for name in names}
    reasons: list[str] = []
    matched: dict[str, int] = {}
    for number, found in enumerate(said):
        for name in names:
            rest = _beside(found, name)
            if rest is None:
                continue
            if more := _more(rest, harmless[name], "row_chinese"):
                reasons.append(f"it says more than '{name}' ({' '.join(more)})")
            else:
                matched.setdefault(name, number)
    # a benchmark of this study goes before one that is only known, and ours before lm-eval's of the same name
    asked = [name for name in matched if name in benchmarks] or list(matched)
    own = [name for name in asked if not name.startswith(LM_EVAL_PREFIX)] or asked
    if not own:
        return RowMatch(None, reasons[0] if reasons else "it names no benchmark" if any(said) else None)
    if len(own) > 1:
        return RowMatch(None, f"it names several benchmarks ({', '.join(own)})")
    label = matched[own[0]]
    # a cell of figures alone says nothing of what the row is about
    others = [found for n, found in enumerate(said) if n != label and any(map(str.isalpha, "".join(found)))]
    if other := [unit for found in others for unit in found if _is_other_figure(unit, harmless[own[0]])]:
        return RowMatch(None, f"it is not about the score of '{own[0]}' ({' '.join(other)})")
    return RowMatch(own[0], None, label)


@functools.cache
def _spellings(name: str) -> list[str]:
    """A benchmark's name and its other names, the words of each joined."""
    info = _infos().get(name)
    names = [name.removeprefix(LM_EVAL_PREFIX), *(info.aliases if info else ())]
    return sorted({"".join(units(each)) for each in names})


def _beside(found: list[str], name: str) -> list[str] | None:
    """The units of a label beside a benchmark's name; None where it does not name it."""
    more = found
    for spelling in _spellings(name):
        while (rest := _rest(more, spelling)) is not None:
            more = rest
    return None if more is found else more


def _harmless(name: str, entry: Benchmark | None) -> set[str]:
    """The words that change nothing beside a benchmark's name, its release and its number of samples among them."""
    info = _infos().get(name)
    words = {*_WORDS["row"], *(info.label_words.split() if info else ())}
    if entry is not None:
        words |= {f"avg@{entry.samples}", f"mean@{entry.samples}"}
        words |= {str(entry.data[key]).casefold() for key in ("release", "version") if entry.data.get(key) is not None}
    return words


def _is_other_figure(unit: str, harmless: Collection[str]) -> bool:
    """True if a word of another label cell says that the row holds something else than the score."""
    if "@" in unit:
        return unit not in harmless
    said_in_chinese = any(word in unit for word in _WORDS["other_figure_chinese"])
    return unit in _WORDS["other_figure"] or unit in "Δ∆δ±+" or said_in_chinese
