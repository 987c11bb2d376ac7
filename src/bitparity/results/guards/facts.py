"""Facts that the guards look at: the variants' answers from any source, and the conditions of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bitparity.benchmarks.registry import benchmark_class, load_benchmark
from bitparity.exam.frozen import Exam
from bitparity.inputs.packaged import packaged_toml
from bitparity.records import Item
from bitparity.results.schema import Guard, Level, SpotCheck
from bitparity.results.sheet import Sheet
from bitparity.schema import LM_EVAL_PREFIX, BenchmarkSpec, Study
from bitparity.stats.arrays import PairedScores
from bitparity.store.environment import RunRecord

Value = float | str | None

MESSAGES: dict[str, dict[str, str]] = packaged_toml(__package__, "messages.toml")


@dataclass(frozen=True, slots=True)
class Answers:
    """The variants' answers to one benchmark, from any source: a run, logs of lm-eval, rows of scores.

    `items` names the rows of the sheets, `margin` is a fraction, `samples` the number asked of an item. A value that
    the source does not tell is None, and rules about it are silent: the score of guessing, the sampling's temperature
    (None also where nothing is written), the token budget, the main metric, the items of the data set and of the
    benchmark as published. `pairs` are the scores that are compared, where there is one candidate; `asked` are the
    questions, with their keys where these are told.
    """

    baseline: str
    sheets: Mapping[str, Sheet]
    items: Sequence[str]
    margin: float
    samples: int = 1
    control: str | None = None
    chance: float | None = None
    temperature: float | None = None
    budget: int | None = None
    metric: str | None = None
    available: int | None = None
    published: int | None = None
    pairs: PairedScores | None = None
    asked: Sequence[Item] = ()
    source: Literal["run", "elsewhere"] = "elsewhere"

    def started(self) -> Iterator[tuple[str, Sheet]]:
        """The variants that have answered something."""
        return ((name, sheet) for name, sheet in self.sheets.items() if sheet.samples)

    def others(self) -> Iterator[tuple[str, Sheet]]:
        """The variants that are compared with the baseline and have answers or scores."""
        answered = ((name, sheet) for name, sheet in self.sheets.items() if sheet.samples or sheet.graded)
        return ((name, sheet) for name, sheet in answered if name != self.baseline)

    @property
    def first(self) -> Sheet:
        """The baseline's answers."""
        return self.sheets[self.baseline]

    def beside(self, variant: str) -> Sheet:
        """The baseline's answers to the items that the variant was asked."""
        return self.first.upto(self.items, self.sheets[variant].stop, self.sheets[variant].end)


@dataclass(frozen=True, slots=True)
class Facts:
    """A benchmark of a run with all its conditions; `environment` is the run's environment.json."""

    study: Study
    spec: BenchmarkSpec
    exam: Exam
    sheets: Mapping[str, Sheet]
    environment: RunRecord
    spot_check: SpotCheck | None = None

    @property
    def answers(self) -> Answers:
        """The answers alone, as any source could tell them."""
        items = [entry.item for entry in self.exam.items]
        exam, foreign = self.exam, self.spec.name.startswith(LM_EVAL_PREFIX)
        writes = any(not prompt.continuations for prompt in items[0].prompts)
        return Answers(
            self.study.baseline,
            self.sheets,
            [item.id for item in items],
            self.spec.margin_at(self.sheets[self.study.baseline].mean()),
            self.spec.samples,
            self.study.control,
            chance=None if foreign else load_benchmark(self.spec).chance(items),
            temperature=exam.sampling.temperature if writes else None,
            budget=exam.sampling.max_tokens,
            metric=exam.metric,
            available=exam.available,
            published=None if foreign else benchmark_class(self.spec.name).info.items,
            asked=items,
            source="run",
        )

    def started(self) -> Iterator[tuple[str, Sheet]]:
        """The variants that have answered something."""
        return ((name, sheet) for name, sheet in self.sheets.items() if sheet.samples)

    def identity(self, variant: str) -> Mapping[str, Any]:
        """The identity of the variant's checkpoint; empty where it is not known."""
        return self.environment.variant(variant).identity

    def engines(self, variant: str) -> list[Mapping[str, Any]]:
        """The facts of every engine that has answered for a variant, the latest last."""
        return [entry.facts for entry in self.environment.variant(variant).engines]

    def latest(self) -> list[tuple[str, Mapping[str, Any]]]:
        """The facts of the engine that answered last, of each variant that has one."""
        return [(name, engines[-1]) for name in self.sheets if (engines := self.engines(name))]


def guard(
    name: str, variant: str | None, level: Level, value: Value = None, key: str = "message", /, **more: object
) -> Guard:
    """One thing a guard says. `variant` None concerns all of them; `value` is what was found, a fraction if a share.

    `key` is that of its message in messages.toml, `more` the figures in it.
    """
    share = shown(value) if isinstance(value, float) else None
    message = text(name, key, **{"variant": variant, "value": value, "share": share, **more})
    return Guard(name=name, variant=variant, level=level, value=value, message=message)


def text(guard: str, key: str, /, **figures: object) -> str:
    """A text of messages.toml with its figures filled in. Raises KeyError where one is unknown."""
    return MESSAGES[guard][key].format(**figures)


def level(value: float, error: float) -> Level:
    """ "error" above a threshold, "warning" up to it."""
    return "error" if value > error else "warning"


def shown(share: float) -> str:
    """A share as a percentage."""
    return f"{100 * share:.1f} %"


def differences(one: Mapping[str, object], other: Mapping[str, object], most: int = 3) -> str:
    """The differences, `key here against there`, readable in one line; "" where nothing does."""
    flat_one, flat_other = _flat(one), _flat(other)
    keys = [k for k in {**flat_one, **flat_other} if flat_one.get(k) != flat_other.get(k)]
    said = [f"{k} {flat_other.get(k, 'not given')} against {flat_one.get(k, 'not given')}" for k in keys[:most]]
    return "; ".join(said) + (f"; and {len(keys) - most} more" if len(keys) > most else "")


def _flat(value: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    named = ((f"{prefix}{key}", entry) for key, entry in value.items())
    parts = (_flat(entry, f"{key}.") if isinstance(entry, Mapping) else {key: str(entry)} for key, entry in named)
    return {key: said for part in parts for key, said in part.items()}
