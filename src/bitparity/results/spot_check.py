"""Spot check of a run: whether the baseline's second run gave the answers of its first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from bitparity.exam.frozen import Exam
from bitparity.records import Sample, SampleKey
from bitparity.results.schema import SpotCheck
from bitparity.results.sheet import Sheet
from bitparity.schema import Study
from bitparity.store.run import Run


def spot_check(run: Run, study: Study, exam: Exam, drawn: Set[SampleKey], first: Sheet) -> SpotCheck:
    """The check on one benchmark, of the answers drawn that count in the baseline's `first` run."""
    assert study.spot_check is not None
    counting = {entry.item.id for entry in exam.items[: first.asked]}
    asked = sorted(key for key in drawn if key[0] in counting)
    answered, other = compared(first.samples, run.samples(study.spot_check, exam.benchmark), asked)
    named = [item if sample == 0 else f"{item}, sample {sample}" for item, sample in other]
    return SpotCheck(variant=study.spot_check, asked=len(asked), answered=len(answered), differing=named)


def compared(
    one: Mapping[SampleKey, Sample], other: Mapping[SampleKey, Sample], keys: Iterable[SampleKey]
) -> tuple[list[SampleKey], list[SampleKey]]:
    """(the keys that both have answered, those of them with other texts)."""
    both = [key for key in keys if key in one and key in other]
    ended = [key for key in both if "error" not in (one[key].finish, other[key].finish)]
    return ended, [key for key in ended if one[key].text != other[key].text]
