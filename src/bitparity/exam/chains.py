"""Chains of items: each is asked after another, its prompt built on the earlier answers of the same sample.

`Item.after` names the item before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bitparity.errors import DataError
from bitparity.records import Item, Sample, SampleKey


def chain(items: Mapping[str, Item], item: Item) -> list[str]:
    """The ids of the items before an item, the first one first."""
    before: list[str] = []
    while item.after is not None:
        before.insert(0, item.after)
        item = items[item.after]
    return before


def first_of_chains(items: Iterable[Item]) -> dict[str, str]:
    """For each item the first of its chain, by id; itself where it comes after none.

    Raises DataError where an item stands before one that it comes after.
    """
    first: dict[str, str] = {}
    for item in items:
        if item.after is not None and item.after not in first:
            raise DataError(f"item '{item.id}' comes after '{item.after}', which does not come before it")
        first[item.id] = item.id if item.after is None else first[item.after]
    return first


def later(items: Iterable[Item]) -> dict[str, list[str]]:
    """For each item that others come after, directly or not, the ids of these."""
    known, found = dict[str, Item](), dict[str, list[str]]()
    for item in items:
        known[item.id] = item
        for before in chain(known, item):
            found.setdefault(before, []).append(item.id)
    return found


def earlier(
    items: Mapping[str, Item], samples: Mapping[SampleKey, Sample], item: Item, sample: int
) -> list[Sample] | None:
    """The samples that an item's sample is built on; None where one of them is missing or failed."""
    found = [samples.get((before, sample)) for before in chain(items, item)]
    whole = [s for s in found if s is not None and s.finish != "error"]
    return whole if len(whole) == len(found) else None
