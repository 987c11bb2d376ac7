"""Blocks of one variant's exam that are complete, counted as its samples are stored."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Sequence

from bitparity.exam.chains import later
from bitparity.exam.frozen import Exam
from bitparity.exam.spot_check import Drawn, answers_of_items
from bitparity.records import SampleKey, SampleKeys
from bitparity.schema import BenchmarkSpec


class Blocks:
    """The samples that are missing in each block of an exam; `ends` are the numbers of items after which one ends.

    With `drawn` these samples alone are asked.
    """

    def __init__(self, spec: BenchmarkSpec, exam: Exam, ends: Sequence[int], drawn: Drawn | None = None) -> None:
        self.spec, self.exam, self.ends, self._drawn = spec, exam, ends, drawn
        self._block = {entry.item.id: bisect.bisect_right(ends, row) for row, entry in enumerate(exam.items)}
        self._later = later(entry.item for entry in exam.items)
        upto = [self.samples_of(end) for end in (0, *ends)]
        self._missing = [end - start for start, end in itertools.pairwise(upto)]
        self._seen = SampleKeys()
        self.complete = 0  # blocks, from the first on without a gap

    def add(self, answers: Iterable[tuple[SampleKey, bool]]) -> bool:
        """Count stored samples and whether each has failed; whether there is a further whole block, without a gap.

        What comes after a failed answer in its chain cannot be asked, so it is not waited for.
        """
        for (item, sample), failed in answers:
            for each in (item, *(self._later.get(item, ()) if failed else ())):
                asked = self._drawn is None or (each, sample) in self._drawn[self.spec.name]
                if asked and (each, sample) not in self._seen:
                    self._seen.add((each, sample))
                    self._missing[self._block[each]] -= 1
        before = self.complete
        while self.complete < len(self._missing) and self._missing[self.complete] <= 0:
            self.complete += 1
        return before < self.complete

    def samples_of(self, items: int) -> int:
        """The samples that the first `items` are asked."""
        return answers_of_items(self.exam, self.spec, self._drawn, items)

    @property
    def last(self) -> bool:
        """True once all blocks are complete."""
        return self.complete == len(self.ends)

    def end_of(self, item: str) -> int:
        """The number of items after which an item's block ends."""
        return self.ends[self._block[item]]

    def is_ahead(self, item: str) -> bool:
        """True for an item of a block behind the one that is to be complete next."""
        return self._block[item] > self.complete

    @property
    def missing(self) -> int:
        """The samples missing in the block that is to be complete next; 0 once all are."""
        return 0 if self.last else self._missing[self.complete]

    @property
    def next_share(self) -> float:
        """The share of the exam that is complete with the next block; above 1 once all are."""
        return 2.0 if self.last else self.ends[self.complete] / self.ends[-1]
