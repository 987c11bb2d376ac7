"""Shares of the distance with their intervals, and the rule by which a module stands out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from bitparity.distance.figures import RESOLUTION
from bitparity.localization.document import Figure
from bitparity.localization.passes import Floats, Measured
from bitparity.stats.ratios import Ratio, ratio_of_sums

LEAST_SHARE = 0.2  # of the KL, that giving one module back regains: less is the usual unevenness of a sound checkpoint
ERROR_RATE = 0.05  # chance to name any module, over all modules together, where none reaches LEAST_SHARE


@dataclass(frozen=True, slots=True)
class Shares:
    """Turns sums by answer into shares; `unit` numbers the item of each answer."""

    measured: Measured
    unit: NDArray[np.intp]

    @property
    def nothing(self) -> bool:
        """True if the candidate is at no distance that float32 could tell from zero."""
        return float(self.measured.divergence.sum()) <= RESOLUTION * float(self.measured.tokens.sum())

    def divergence(self) -> Figure:
        """The mean KL a token, in nats."""
        found = ratio_of_sums(self.measured.divergence, self.measured.tokens, self.unit)
        assert found is not None  # every answer has a token
        return _figure(found, 0.0)

    def error(self, module: str) -> Figure:
        """A module's relative error on the baseline's input: the norm of its output's error by that of its output."""
        found = ratio_of_sums(self.measured.error[module], self.measured.size[module], self.unit)
        if found is None:  # its output is zero
            return Figure(value=0.0)
        ends = None if found.ci95 is None else tuple(math.sqrt(max(end, 0.0)) for end in found.ci95)
        return Figure(value=math.sqrt(found.value), ci95=None if ends is None else (ends[0], ends[1]))

    def through(self, modules: list[str]) -> Figure | None:
        """The share of the KL that goes through some modules' errors, by the gradient; None where none has one."""
        found = [self.measured.through[name] for name in modules if name in self.measured.through]
        return None if not found or self.nothing else _figure(self._share(np.sum(found, axis=0)))

    def regained(self, divergence: Floats) -> Figure:
        """The share by which the KL falls, from the KL of an arm; its answers left out are NaN."""
        return _figure(self._share(self.measured.divergence - divergence))

    def _share(self, part: Floats) -> Ratio:
        there = np.isfinite(part)
        unit = np.unique(self.unit[there], return_inverse=True)[1].astype(np.intp)
        found = ratio_of_sums(part[there], self.measured.divergence[there], unit)
        assert found is not None  # asked only where there is a distance
        return found

    def at_least(self, divergence: Floats, modules: int) -> float | None:
        """The lower end of the share regained, one-sided, corrected by Bonferroni for all `modules`, tested or not.

        None where one item alone tells nothing of the spread.
        """
        found, units = self._share(self.measured.divergence - divergence), self.unit[np.isfinite(divergence)]
        if found.error is None:
            return None
        return found.value - float(stdtrit(len(np.unique(units)) - 1, 1 - ERROR_RATE / max(1, modules))) * found.error


def stand_out(at_least: Mapping[str, float | None]) -> list[str]:
    """The modules whose share is at least LEAST_SHARE beyond chance, the largest first."""
    found = {name: low for name, low in at_least.items() if low is not None and low > LEAST_SHARE}
    return sorted(found, key=lambda name: -found[name])


def _figure(found: Ratio, least: float = -math.inf) -> Figure:
    """A figure as the document has it, its interval cut to what it can be at least."""
    return Figure(value=found.value, ci95=None if found.ci95 is None else (max(found.ci95[0], least), found.ci95[1]))
