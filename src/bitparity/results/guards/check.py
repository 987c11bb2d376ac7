"""The guards: signs that a figure measures something else than the loss of precision.

Each guard has a threshold, a level ("error" makes the verdicts of its variant invalid, "warning" only
shows) and a message with cause and remedy. `variant` None concerns all variants.
"""

from __future__ import annotations

from bitparity.results.guards import completions, conditions, precision, scores
from bitparity.results.guards.facts import Facts
from bitparity.results.schema import Guard

__all__ = ["Facts", "Guard", "check"]


_RULES = (*scores.RULES, *completions.RULES, *conditions.RULES, *precision.RULES)


def check(facts: Facts) -> list[Guard]:
    """All guards that speak, errors first."""
    found = [guard for rule in _RULES for guard in rule(facts)]
    return sorted(found, key=lambda guard: guard.level != "error")
