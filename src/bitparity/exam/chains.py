"""Chains of items: each is asked after another, its prompt built on the earlier answers of the same sample.

`Item.after` names the item before.
What is to be asked next follows from the exam and the stored samples alone, so a run that was killed anywhere goes
on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Mapping

from bitparity.records import Item, Sample, SampleKey


def chain(items: Mapping[str, Item], item: Item) -> list[str]:
    """The ids of the items before an item, the first one first."""
    before: list[str] = []
    while item.after is not None:
        before.insert(0, item.after)
        item = items[item.after]
    return before


def earlier(
    items: Mapping[str, Item], samples: Mapping[SampleKey, Sample], item: Item, sample: int
) -> list[Sample] | None:
    """The samples that an item's sample is built on; None where one of them is missing or failed."""
    found = [samples.get((before, sample)) for before in chain(items, item)]
    whole = [s for s in found if s is not None and s.finish != "error"]
    return whole if len(whole) == len(found) else None
