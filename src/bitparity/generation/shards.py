"""Shards: one study on machines that do not know of each other, such as the tasks of a Slurm array.

Each shard is a run directory of its own with the whole exam and every Nth part of the answers; `cluster.merge` joins
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from bitparity.errors import RunError
from bitparity.exam.chains import first_of_chains
from bitparity.exam.frozen import Exam
from bitparity.records import Request
from bitparity.store.environment import RunRecord
from bitparity.store.run import Run


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` (1 to `of`) of a study's answers."""

    index: int
    of: int

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    def has(self, number: int) -> bool:
        """True for every Nth of numbered parts: chains of items, fixed batches, or benchmarks."""
        return number % self.of == self.index - 1

    def part(self, exam: Exam) -> Exam:
        """The exam with this shard's items only: every Nth chain of items that build on one another."""
        first = first_of_chains(entry.item for entry in exam.items)
        chains = {item: number for number, item in enumerate(dict.fromkeys(first.values()))}
        return replace(exam, items=tuple(e for e in exam.items if self.has(chains[first[e.item.id]])))

    def batches(self, requests: Iterable[Request], undivided: Mapping[str, int]) -> list[Request]:
        """This shard's requests of those that an engine computes in fixed batches: every Nth batch.

        Batches of items that build on others mix their chains, so such a benchmark is not divided: `undivided` has its
        number in the study, and every Nth of them is this shard's.
        """
        return [r for r in requests if self.has(undivided.get(r.benchmark, r.batch or 0))]


def claim(run: Run, environment: RunRecord, shard: Shard | None) -> None:
    """Record which shard a run directory holds. Raises RunError where it holds another, or is none."""
    asked = None if shard is None else asdict(shard)
    held = environment.shard
    # the record of a fresh directory has no variants; one that holds the whole study has no shard either
    if "variants" in environment.model_fields_set and held != asked:
        what = "all of the study" if held is None else f"shard {held['index']}/{held['of']}"
        raise RunError(f"{run.path} holds {what}; go on with it as it was begun, or give another folder with --out")
    if asked is not None:
        environment.shard = asked
