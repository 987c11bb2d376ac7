"""All guards of a benchmark, called in turn: signs that a figure measures something else than the loss of precision.

Each guard has a threshold, a level ("error" makes the verdicts of its variant invalid, "warning" only
shows) and a message in messages.toml with cause and remedy. `variant` None concerns all variants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import isgeneratorfunction
from types import ModuleType

from bitparity.results.guards import alignment, completions, conditions, copies, precision, scores
from bitparity.results.guards.facts import Answers, Facts
from bitparity.results.schema import Guard

__all__ = ["Answers", "Facts", "Guard", "check", "check_answers"]


def _rules(*modules: ModuleType) -> list[Callable[..., Iterator[Guard]]]:
    """The public functions of these modules that yield guards, in the order in which they are written."""
    named = [pair for module in modules for pair in vars(module).items()]
    return [each for name, each in named if isgeneratorfunction(each) and not name.startswith("_")]


ON_ANSWERS = _rules(scores, alignment, completions, copies)
ON_RUNS = _rules(conditions, precision)


def check(facts: Facts) -> list[Guard]:
    """All guards that speak on a benchmark of a run, errors first."""
    return check_answers(facts.answers, facts)


def check_answers(answers: Answers, facts: Facts | None = None) -> list[Guard]:
    """All guards that speak on answers from anywhere, and on the conditions of those of a run; errors first."""
    found = [guard for rule in ON_ANSWERS for guard in rule(answers)]
    found += [guard for rule in ON_RUNS for guard in rule(facts)] if facts is not None else []
    return sorted(found, key=lambda guard: guard.level != "error")
