"""Which variant a column's header names, and which benchmark a row's label: tolerant of spelling, strict about sense.

"**MMLU-Pro**", "mmlu_pro" and "ＭＭＬＵ　Ｐｒｏ" are one benchmark; "MMLU", "AIME 2025", "HumanEval+" and "FP8 latency"
are something else. A label may say more than the name only in words that change nothing; with any other word it does
not match: an empty cell is better than a figure in the wrong one.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bitparity.benchmarks.contract import Info
from bitparity.benchmarks.registry import infos
from bitparity.schema import LM_EVAL_PREFIX


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_UNIT = re.compile(r"[a-z0-9]+(?:@[a-z0-9]+)?|[\u3400-\u9fff]+|[^\W\d_a-z\u3400-\u9fff]+|\S")
_BENIGN = frozenset("↑↓→|~<>=•·※★☆")  # symbols that change nothing; + ± Δ and other signs do

# precision words, each with its other spellings
PRECISIONS = {
    "bf16": {"bf16", "bfloat16"},
    "fp16": {"fp16", "float16", "half"},
    "fp32": {"fp32", "float32"},
    "fp8": {"fp8", "float8"},
    **{word: {word} for word in ("nvfp4", "mxfp4", "mxfp8", "fp4", "int8", "int4", "awq", "gptq")},
    **{word: {word} for word in ("w8a8", "w4a16", "w8a16", "w4a8", "w4a4")},
}
_CANONICAL = {spelling: word for word, spellings in PRECISIONS.items() for spelling in spellings}
_SCHEMES = {"w8a8", "w4a16", "w8a16", "w4a8", "w4a4"}

_COLUMN_WORDS = _set(
    "score scores acc accuracy result results model variant quant quantized quantised quantization baseline "
    "original precision checkpoint dynamic"
)
_COLUMN_CHINESE = "得分|分数|成绩|精度|准确率|正确率|结果|模型|版本|量化|基线|原始|未|的"
_ROW_WORDS = _set(
    "accuracy acc score em exact match pass@1 test benchmark math mathematics coding code codegen generation "
    "knowledge reasoning science scientific competition the of"
)
_ROW_CHINESE = (
    "准确率|正确率|通过率|得分|分数|测试集|测试|评测|基准|数学|代码|编程|生成|知识|推理|科学|竞赛|综合|通用|专业|学科|"
    "研究生|博士|级|水平|难题|问题|问答|考试|能力|题|的|与|和"
)
# what a second label may not say beside a benchmark's name: the row is then about something else than the score
_OTHER_FIGURE = _set(
    "latency throughput speed memory vram ttft tpot tps tokens cost size time seconds delta drop loss std "
    "stderr ci items samples count main level"
)
_OTHER_FIGURE_CHINESE = re.compile(
    "延迟|时延|吞吐|速度|显存|内存|耗时|时间|成本|下降|损失|差值|差异|方差|标准差|误差|区间|样本|题数|数量|主问题|主任务"
)
_NOTES = _set("备注 备考 说明 注 注释 附注 notes note remark remarks comment comments")


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
    """Whether a column is for notes."""
    found = units(header)
    return bool(found) and set(found) <= _NOTES


@dataclass(slots=True)
class Columns:
    """What the columns of a header are. `variants` and `labels` by column from 0; `unmatched` with the reason."""

    variants: dict[int, str] = field(default_factory=dict)
    labels: list[int] = field(default_factory=list)
    notes: int | None = None
    unmatched: dict[int, str] = field(default_factory=dict)


def match_columns(header: Iterable[str], variants: Mapping[str, Mapping[str, Any]]) -> Columns:
    """Which column is which variant's; `variants` are those of results.json."""
    columns = Columns()
    exact: dict[int, str] = {}
    close: dict[int, str] = {}
    for number, label in enumerate(header):
        if is_notes(label):
            if columns.notes is None:
                columns.notes = number
            continue
        found = units(label)
        joined = "".join(found)
        name = next((name for name, v in variants.items() if joined in _full_names(name, v)), None)
        if name is not None and joined:
            exact[number] = name
        elif isinstance(match := _by_precision(found, variants), str):
            close[number] = match
        elif match is not None:
            columns.unmatched[number] = match[0]
        else:
            columns.labels.append(number)
    _settle(columns, exact, close)
    return columns


def _settle(columns: Columns, exact: Mapping[int, str], close: Mapping[int, str]) -> None:
    """Give each variant its column: the one with its very name before one that only names its precision."""
    for found, rivals in ((exact, exact), (close, {**close, **exact})):
        for number, name in found.items():
            others = [n for n, other in rivals.items() if other == name and n != number]
            if others:
                columns.unmatched[number] = f"another column stands for variant '{name}' too"
            else:
                columns.variants[number] = name


def _full_names(name: str, variant: Mapping[str, Any]) -> set[str]:
    model = str(variant["model"])
    names = {"".join(units(name))}
    if not variant.get("control"):
        names |= {"".join(units(model)), "".join(units(model.rsplit("/", 1)[-1]))}
    return names


def _by_precision(found: list[str], variants: Mapping[str, Mapping[str, Any]]) -> str | tuple[str] | None:
    """The variant whose precision a header names; (reason,) where it names one and something else; None for no name."""
    named = {_CANONICAL[unit] for unit in found if unit in _CANONICAL}
    if len(named) > 1:
        named -= _SCHEMES  # "NVFP4 (W4A4)" says one thing twice
    if not named:
        baseline = next((name for name, v in variants.items() if v["baseline"]), None)
        only = bool(found) and set(found) <= {"baseline", "基线", "基线模型", "基线版本"}
        return baseline if only else None
    if len(named) > 1:
        return ("it names several precisions",)
    word = next(iter(named))
    fitting = [name for name, v in variants.items() if not v.get("control") and word in _precisions(name, v)]
    if len(fitting) != 1:
        many = f"several variants are {word} ({', '.join(fitting)}); name the column like one of them"
        return (many if fitting else "it names no variant of this run",)
    harmless = _COLUMN_WORDS | PRECISIONS[word] | _SCHEMES | set(units(str(variants[fitting[0]]["model"])))
    more = [unit for unit in found if unit not in harmless and not re.fullmatch(f"(?:{_COLUMN_CHINESE})+", unit)]
    return (f"it says more than a variant's name ({' '.join(more)})",) if more else fitting[0]


def _precisions(name: str, variant: Mapping[str, Any]) -> set[str]:
    """The precision words of a variant: in its name, else in its model's, else as its engine has loaded it."""
    for said in (name, str(variant["model"]).rsplit("/", 1)[-1]):
        if found := {_CANONICAL[unit] for unit in units(said) if unit in _CANONICAL}:
            return found
    engine = variant.get("engine") or {}
    if "quantization" in engine and not engine["quantization"]:
        return {_CANONICAL[word] for word in [str(engine.get("dtype"))] if word in _CANONICAL}
    return set()


@dataclass(frozen=True, slots=True)
class RowMatch:
    """The benchmark that a row names, and which of the labels names it.

    Without a benchmark, `reason` says why, or is None where the row says nothing.
    """

    benchmark: str | None
    reason: str | None = None
    label: int | None = None


@functools.cache
def _infos() -> dict[str, Info]:
    return infos()


def match_row(labels: Iterable[str], benchmarks: Mapping[str, Mapping[str, Any]]) -> RowMatch:
    """Which benchmark the label cells of a row name: one of `benchmarks`, those of results.json, or another known one.

    Benchmarks without a data set of their own stand in no published table and count as known only where they ran.
    """
    said = [units(label) for label in labels]
    names = list(dict.fromkeys([*benchmarks, *(name for name, info in _infos().items() if info.source is not None)]))
    reasons: list[str] = []
    matched: dict[str, int] = {}
    for number, found in enumerate(said):
        for name in names:
            more = _beside(found, name, benchmarks.get(name, {}))
            if more == []:
                matched.setdefault(name, number)
            elif more:
                reasons.append(f"it says more than '{name}' ({' '.join(more)})")
    asked = [name for name in matched if name in benchmarks] or list(matched)
    own = [name for name in asked if not name.startswith(LM_EVAL_PREFIX)] or asked
    if not own:
        return RowMatch(None, reasons[0] if reasons else "it names no benchmark" if any(said) else None)
    if len(own) > 1:
        return RowMatch(None, f"it names several benchmarks ({', '.join(own)})")
    words = [found for number, found in enumerate(said) if number != matched[own[0]] and _has_letters(found)]
    others = [unit for found in words for unit in found]
    if other := [unit for unit in others if _is_other_figure(unit, benchmarks.get(own[0], {}))]:
        return RowMatch(None, f"it is not about the score of '{own[0]}' ({' '.join(other)})")
    return RowMatch(own[0], None, matched[own[0]])


@functools.cache
def _spellings(name: str) -> list[str]:
    """A benchmark's name and its other names, the words of each joined."""
    info = _infos().get(name)
    names = [name.removeprefix(LM_EVAL_PREFIX), *(info.aliases if info else ())]
    return sorted({"".join(units(each)) for each in names})


def _beside(found: list[str], name: str, entry: Mapping[str, Any]) -> list[str] | None:
    """What a label says beside a benchmark's name and harmless words; None where it does not name it."""
    more = found
    for spelling in _spellings(name):
        while (rest := _rest(more, spelling)) is not None:
            more = rest
    return None if more is found else [unit for unit in more if not _is_harmless(unit, name, entry)]


def _is_harmless(unit: str, name: str, entry: Mapping[str, Any]) -> bool:
    info = _infos().get(name)
    if unit in _ROW_WORDS or (info and unit in info.label_words.split()) or re.fullmatch(f"(?:{_ROW_CHINESE})+", unit):
        return True
    if unit in (f"avg@{entry.get('samples')}", f"mean@{entry.get('samples')}"):
        return True
    return unit in {str((entry.get("data") or {}).get(key)).casefold() for key in ("release", "version")} - {"none"}


def _is_other_figure(unit: str, entry: Mapping[str, Any]) -> bool:
    """Whether a word of another label cell says that the row holds something else than the score."""
    if "@" in unit:
        return unit != "pass@1" and not _is_harmless(unit, "", entry)
    return unit in _OTHER_FIGURE or unit in "Δ∆δ±+" or bool(_OTHER_FIGURE_CHINESE.search(unit))


def _has_letters(found: Iterable[str]) -> bool:
    """Whether a cell says words: one of figures alone says nothing of what the row is about."""
    return any(character.isalpha() for unit in found for character in unit)
