"""Sign tests on shifted answers: whether what was stated fits the keys of questions some places on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc

IntArray = NDArray[np.int_]
SHIFTED = 1e-5  # probability that so many more answers fit a neighbour's key by chance
PARTLY_SHIFTED = 1e-6  # the same of those that fit it beside keys farther away
FAR_LAGS = [sign * lag for lag in range(11, 23) for sign in (1, -1)]  # how far away a key is there by chance
LEAST_ITEMS = 60  # that have keys so far away


class KeyFits:
    """One variant's stated answers beside the keys some places on. Items count, however many samples each has.

    `order` has the items' ids, `said` the number of each sample with what it states, `keys` the right answers.
    """

    def __init__(
        self, order: Sequence[str], said: Mapping[str, Sequence[tuple[int, str]]], keys: Mapping[str, Sequence[str]]
    ) -> None:
        code: dict[str, int] = defaultdict(lambda: len(code))
        columns = range(1 + max((k for each in said.values() for k, _ in each), default=0))
        shape = (len(order), len(columns))
        self._keys = np.array([[code[keys[i][k % len(keys[i])]] for k in columns] for i in order], int).reshape(shape)
        self._said = np.full(shape, -1)
        for row, item in enumerate(order):
            for k, text in said.get(item, ()):
                self._said[row, k] = code[text]
        self._own = (self._said == self._keys).sum(axis=1)
        self.by_chance = float(np.mean([self.won(lag) for lag in FAR_LAGS]))

    def gap(self, lag: int) -> IntArray:
        """By item, how many more of its samples fit the key so many places on than its own."""
        return np.asarray((self._said == np.roll(self._keys, -lag, axis=0)).sum(axis=1) - self._own)

    def won(self, lag: int) -> int:
        """The number of items whose answers fit that key more often than their own."""
        return int((self.gap(lag) > 0).sum())

    def lost(self, lag: int) -> int:
        """The number of items whose answers fit that key less often than their own."""
        return int((self.gap(lag) < 0).sum())

    def all(self, lag: int) -> bool:
        """True where the answers fit that key better than their own."""
        return _more(self.won(lag), self.lost(lag), SHIFTED)

    def part(self, lag: int, others: Sequence[KeyFits]) -> bool:
        """True where a part of the answers fits that key, by keys farther away and by another variant's answers."""
        items, won = len(self._own), self.gap(lag) > 0
        rate = max(self.by_chance, 1.0) / max(items, 1)
        if items < LEAST_ITEMS or bdtrc(int(won.sum()) - 1, items, rate) >= PARTLY_SHIFTED:
            return False
        rivals = [other.gap(lag) > 0 for other in others]
        return any(_more(int((won & ~their).sum()), int((their & ~won).sum()), SHIFTED) for their in rivals)


def _more(won: int, lost: int, chance: float) -> bool:
    """True where wins exceed losses so far that it has less than this probability by chance (sign test)."""
    return won > lost and float(bdtr(lost, won + lost, 0.5)) < chance
