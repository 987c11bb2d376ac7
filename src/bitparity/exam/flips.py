"""Shares of answers that are assumed to flip between equally good variants, where nothing has been measured."""

from __future__ import annotations

from bitparity.inputs.packaged import packaged_toml
from bitparity.schema import Strict
from bitparity.stats import power

RANGE = (0, 1, 2)  # the least, the middle and the most of what is assumed
ASSUMED_SCORE = 0.5  # of the baseline, for margins in proportion to it
ROUNDING = 1e-4  # to which margins are computed
CORRELATION = 0.15  # of the differences of items that share a problem


class Flips(Strict):
    """The shares of items assumed to flip with one sample, least to most, and the parts that are decoding noise."""

    total: tuple[float, float, float]
    noise: tuple[float, float, float]
    kind: str

    def design(
        self, items: int | None, groups: tuple[int, ...], samples: int, at: int = RANGE[1]
    ) -> power.Design | None:
        """The comparison planned, at one of RANGE; None where it has fewer than two items.

        `groups` are the sizes of the groups where items share problems.
        """
        if items is None or items < 2:
            return None
        return power.Design(items, self.total[at], self.noise[at], samples, groups, CORRELATION)


_FLIPS = packaged_toml(__package__, "flips.toml")
GREEDY, SAMPLED, SCORED = (Flips.model_validate(_FLIPS[kind]) for kind in ("greedy", "sampled", "scored"))


def assumed_flips(writes: bool, temperature: float, samples: int) -> tuple[Flips, int]:
    """The flips to reckon with, and how many of the samples of an item are independent.

    Greedy repeats of an answer are nearly the same answer: they count as one.
    """
    sampled = temperature > 0
    return SCORED if not writes else SAMPLED if sampled else GREEDY, samples if sampled else 1
