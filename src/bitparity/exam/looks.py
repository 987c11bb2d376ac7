"""Looks of an exam: after which of its items a comparison is looked at, and what may stop it; fixed with the exam."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

from bitparity.exam.chains import first_of_chains
from bitparity.exam.flips import ASSUMED_SCORE, ROUNDING, assumed_flips
from bitparity.records import Item
from bitparity.schema import BenchmarkSpec, Study
from bitparity.stats.sequential import Spending, StopRule

FEWEST = 100  # items, or groups of them, that may stop early: fewer seldom do
MANY = 1000  # from which on ten looks are worth their price
MANY_LOOKS, FEW_LOOKS = 10, 5
MOST_BLOCKS = 400  # of an exam that ends by the clock: so many that a block is a small part of any time


def block_of(items: Sequence[Item]) -> list[str]:
    """The unit of each item, by name, that stays whole in a block: its group, or else the chain that it is asked in."""
    first = first_of_chains(items)
    groups = {item.id: item.group for item in items}
    return [groups[first[item.id]] or f"\0{first[item.id]}" for item in items]


def stop_rule(study: Study, spec: BenchmarkSpec, items: Sequence[Item]) -> StopRule | None:
    """The rule for items in the order in which they are asked.

    None where the benchmark is not to stop early, has too few items, or cannot show that equally good variants lie
    within its margin, at the flips that a plan assumes.
    """
    blocks = block_of(items)
    units = len(set(blocks))
    if not spec.stop_early or units < FEWEST or not _can_tell(spec, items, blocks):
        return None
    spending: Spending = "power_2" if units >= MANY else "obrien_fleming"
    ends = ends_of(blocks, MANY_LOOKS if units >= MANY else FEW_LOOKS)
    family = max(1, len(study.candidates) * len(study.benchmarks))
    return StopRule(ends, spending, spec.margin_at(None), spec.recovery, family)


def ends_of(blocks: Sequence[str], looks: int) -> tuple[int, ...]:
    """At most so many numbers of items at equal distances, each after the last item of a block."""
    whole = [end for end, (one, other) in enumerate(itertools.pairwise(blocks), 1) if one != other]
    whole.append(len(blocks))
    wanted = (round(look * len(blocks) / looks) for look in range(1, looks + 1))
    return tuple(sorted({next(end for end in whole if end >= each) for each in wanted}))


def _can_tell(spec: BenchmarkSpec, items: Sequence[Item], blocks: Sequence[str]) -> bool:
    """True where equally good variants would be shown to lie within the margin in most studies, as a plan says."""
    writes = any(not prompt.continuations for item in items for prompt in item.prompts)
    flips, samples = assumed_flips(writes, spec.protocol.temperature, spec.samples if writes else 1)
    sizes = tuple(Counter(blocks).values())
    design = flips.design(len(items), sizes if len(sizes) < len(items) else (), samples)
    provable = None if design is None else design.provable()
    return provable is not None and provable <= spec.margin_at(ASSUMED_SCORE) + ROUNDING
