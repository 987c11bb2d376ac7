"""Facts that the guards look at: the variants' answers from any source, and the conditions of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bitparity.benchmarks.registry import benchmark_class, load_benchmark
from bitparity.exam.frozen import Exam
from bitparity.results.schema import Guard, Level
from bitparity.schema import LM_EVAL_PREFIX, BenchmarkSpec, Study
from bitparity.stats.arrays import PairedScores
from bitparity.store.environment import Restart, RunRecord

if TYPE_CHECKING:
    from bitparity.results.sheet import Sheet


@dataclass(frozen=True, slots=True)
class Answers:
    """The variants' answers to one benchmark, from any source: a run, logs of lm-eval, rows of scores.

    `items` names the rows of the sheets, `margin` is a fraction, `samples` the number asked of an item. A value that
    the source does not tell is None, and rules about it are silent: the score of guessing, the sampling's temperature
    (None also where nothing is written), the token budget, the main metric, the items of the data set and of the
    benchmark as published. `pairs` are the scores that are compared, where there is one candidate.
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
    of_run: bool = False

    def started(self) -> Iterator[tuple[str, Sheet]]:
        """The variants that have answered something."""
        return ((name, sheet) for name, sheet in self.sheets.items() if sheet.samples)

    def others(self) -> Iterator[tuple[str, Sheet]]:
        """The variants that are compared with the baseline and have answers or scores."""
        named = ((name, sheet) for name, sheet in self.sheets.items() if name != self.baseline)
        return ((name, sheet) for name, sheet in named if sheet.samples or sheet.graded)

    @property
    def first(self) -> Sheet:
        """The baseline's answers."""
        return self.sheets[self.baseline]


@dataclass(frozen=True, slots=True)
class Facts:
    """A benchmark of a run with all its conditions; `environment` is the run's environment.json."""

    study: Study
    spec: BenchmarkSpec
    exam: Exam
    sheets: Mapping[str, Sheet]
    environment: RunRecord

    @property
    def answers(self) -> Answers:
        """The answers alone, as any source could tell them."""
        exam, foreign = self.exam, self.spec.name.startswith(LM_EVAL_PREFIX)
        writes = any(not prompt.continuations for prompt in exam.items[0].item.prompts)
        return Answers(
            self.study.baseline,
            self.sheets,
            [entry.item.id for entry in exam.items],
            self.spec.margin / 100,
            self.spec.samples,
            self.study.control,
            chance=None if foreign else load_benchmark(self.spec).chance([entry.item for entry in exam.items]),
            temperature=exam.sampling.temperature if writes else None,
            budget=exam.sampling.max_tokens,
            metric=exam.metric,
            available=exam.available,
            published=None if foreign else benchmark_class(self.spec.name).info.items,
            of_run=True,
        )

    def started(self) -> Iterator[tuple[str, Sheet]]:
        """The variants that have answered something."""
        return ((name, sheet) for name, sheet in self.sheets.items() if sheet.samples)

    @property
    def baseline(self) -> Sheet:
        """The baseline's answers."""
        return self.sheets[self.study.baseline]

    def identity(self, variant: str) -> Mapping[str, Any]:
        """What the variant's checkpoint is; empty where it is not known."""
        return self.environment.variant(variant).identity

    def engines(self, variant: str) -> list[Mapping[str, Any]]:
        """The facts of every engine that has answered for a variant, the latest last."""
        return [entry.facts for entry in self.environment.variant(variant).engines]

    def restarts(self, variant: str) -> list[Restart]:
        """Each time a variant's engine was started again: when, why, and what was lowered."""
        return self.environment.variant(variant).restarts

    def asked(self, variant: str) -> Mapping[str, Any] | None:
        """The sampling values of the exam that a variant sat; None where it was not noted."""
        return self.environment.variant(variant).sampling.get(self.spec.name)

    def sent(self, variant: str) -> list[Mapping[str, Any]]:
        """The sampling values that a variant's engine built, one entry for each way; empty where it did not tell."""
        return list(self.environment.variant(variant).sent.get(self.spec.name, []))

    def sat(self, variant: str) -> str | None:
        """The hash of the exam that a variant sat; None where it was not noted."""
        return self.environment.variant(variant).exam.get(self.spec.name)


def guard(name: str, variant: str | None, level: Level, value: float | str | None, message: str) -> Guard:
    """One thing a guard says. `variant` None concerns all of them; `value` is what was found, a fraction if a share."""
    return Guard(name=name, variant=variant, level=level, value=value, message=message)


def level(value: float, error: float) -> Level:
    """ "error" above a threshold, "warning" up to it."""
    return "error" if value > error else "warning"


def shown(share: float) -> str:
    """A share as a percentage."""
    return f"{100 * share:.1f} %"
