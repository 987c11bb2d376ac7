"""What guards look at and what they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bitparity.exam.frozen import Exam
from bitparity.results.schema import Guard, Level
from bitparity.schema import BenchmarkSpec, Study
from bitparity.store.environment import Restart, RunRecord

if TYPE_CHECKING:
    from bitparity.results.sheet import Sheet


@dataclass(frozen=True, slots=True)
class Facts:
    """What the guards of one benchmark look at; `environment` is the run's environment.json."""

    study: Study
    spec: BenchmarkSpec
    exam: Exam
    sheets: Mapping[str, Sheet]
    environment: RunRecord

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
