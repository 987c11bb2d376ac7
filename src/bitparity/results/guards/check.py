"""The guards: signs that a figure measures something else than the loss of precision.

Each guard has a threshold, a level ("error" makes the verdicts of its variant invalid, "warning" only
shows) and a message with cause and remedy. `variant` None concerns all variants.
"""

from __future__ import annotations

from bitparity.results.guards import completions, conditions, precision, scores
from bitparity.results.guards.facts import Answers, Facts
from bitparity.results.schema import Guard

__all__ = ["Answers", "Facts", "Guard", "check", "check_answers"]

_ON_ANSWERS = (*scores.RULES, *completions.RULES, conditions.settings_differ)
_ON_RUNS = (*conditions.RULES, *precision.RULES)


def check(facts: Facts) -> list[Guard]:
    """All guards that speak on a benchmark of a run, errors first."""
    return check_answers(facts.answers, facts)


def check_answers(answers: Answers, facts: Facts | None = None) -> list[Guard]:
    """All guards that speak on answers from anywhere, and on the conditions of those of a run; errors first."""
    found = [guard for rule in _ON_ANSWERS for guard in rule(answers)]
    found += [guard for rule in _ON_RUNS for guard in rule(facts)] if facts is not None else []
    return sorted(found, key=lambda guard: guard.level != "error")
