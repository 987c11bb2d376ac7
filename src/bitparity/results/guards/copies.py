"""Guards on copies: variants that wrote the same texts more often than two precisions do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from scipy.special import bdtrc, betaincinv

from bitparity.records import SampleKey
from bitparity.results.guards.completions import ENOUGH, LONG
from bitparity.results.guards.facts import Answers, guard
from bitparity.results.schema import Guard
from bitparity.results.sheet import Sheet
from bitparity.stats.texts import parting_rate, shared_start

# Of 17,000 pairs of greedy completions of a 1.5B model, BF16 against FP8 or against BF16 in other batches, about
# exp(-n / 1000) to exp(-n / 1700) of those of n characters are the same; twice that is no second precision any more.
SAME_CHARACTERS, SAME_SIGMAS = 3000, 3.0
# In 34 recorded pairs of precisions of 0.5B, 1.5B and 32B models, greedy and drawn, the share of same texts is that of
# 1.0 to 1.6 times as many characters as those texts that part tell; with one edit aside, in 15 pairs, 1.0 to 1.9 times.
TIMES = 3.0
EDITED, CLOSE = 0.95, 0.9  # of the characters: long texts with one edit count as the same, where about as long
# Of 27 to 1,913 greedy answers in which two runs of BF16 differ, FP8 and NVFP4 write 0 to 11 % as one of the runs did.
UNSTABLE_SAME, COPIED = 0.30, 1e-4
# They write an answer in which those two runs agree 2.4 to 4 times as often as one in which they differ; who copies,
# writes both as often. Compared are the limits (COPIED) of these shares, of which the ratio was 0.04 at most.
UNSTABLE_RATIO = 0.5
TELLING = 50  # characters: below, right answers are naturally the same


def same_answers(answers: Answers) -> Iterator[Guard]:
    """Two variants with more of the same completions than two precisions write: one model ran under two names.

    Two runs part at some token, so a text of n characters stays the same with probability exp(-n / characters).
    """
    names = sorted((name for name, _ in answers.started()), key=lambda name: name == answers.control, reverse=True)
    for one, other in combinations(names, 2):
        if {one, other} == {answers.baseline, answers.control}:
            continue  # one model under two names, as it should be
        pairs = _telling_pairs(answers.sheets[one], answers.sheets[other])
        lengths = [max(len(a), len(b)) for a, b in pairs]
        parted = [_parted(a, b) for a, b in pairs]
        long = [at is None for at, length in zip(parted, lengths, strict=True) if length >= LONG]
        chances = np.exp(-np.array(lengths) / _characters(parted, lengths))
        same, expected = parted.count(None), float(chances.sum())
        beyond = SAME_SIGMAS * float((chances * (1 - chances)).sum()) ** 0.5
        if (len(long) >= ENOUGH and all(long)) or (same >= ENOUGH and same > expected + beyond):
            share = same / len(pairs)
            yield guard("same_answers", other, "error", share, one=one, same=same, texts=len(pairs))
        elif found := _copied(answers, one, other):
            share = found[0] / found[1]
            yield guard("same_answers", other, "error", share, "unstable", one=one, same=found[0], texts=found[1])
        elif found := _exchanged(answers.sheets[one], answers.sheets[other]):
            share = found[0] / found[1]
            yield guard("same_answers", other, "error", share, "exchanged", one=one, same=found[0], texts=found[1])


def _parted(one: str, other: str) -> int | None:
    """The number of characters after which two texts part; None where they are the same but for one edit."""
    if one == other:
        return None
    at, length = shared_start(one, other), max(len(one), len(other))
    if length < LONG:
        return at
    alike = at + shared_start(one[at:][::-1], other[at:][::-1]) >= EDITED * length
    return None if alike and min(len(one), len(other)) >= CLOSE * length else at


def _characters(parted: Sequence[int | None], lengths: Sequence[int]) -> float:
    """The characters after which two precisions would part, with room: by where those texts do that part at all.

    Copies have no part in it. At most SAME_CHARACTERS, also where too few texts part to tell.
    """
    places = [(at, length) for at, length in zip(parted, lengths, strict=True) if at is not None]
    rate = parting_rate(places, SAME_SIGMAS) if len(places) >= ENOUGH else 0.0
    return min(SAME_CHARACTERS, TIMES / rate) if rate > 0 else SAME_CHARACTERS


def _exchanged(one: Sheet, other: Sheet) -> tuple[int, int] | None:
    """The number of long texts that are another sample's of the same question in the first variant, of how many.

    None where the first variant's own samples repeat each other as often: other draws seldom do.
    """
    first, second = ({key: text for key, text, _ in _told(sheet, sheet)} for sheet in (one, other))
    known = Counter((item, text) for (item, _), text in first.items())
    long = [(key, text) for key, text in second.items() if len(text) >= LONG and key in first]
    moved = sum(first[key] != text and known[key[0], text] > 0 for key, text in long)
    repeated = sum(known[key[0], first[key]] > 1 for key, _ in long)
    told = moved >= ENOUGH and bdtrc(moved - 1, len(long), min(1.0, (repeated + 1) / len(long))) < COPIED
    return (moved, len(long)) if told else None


def _copied(answers: Answers, one: str, other: str) -> tuple[int, int] | None:
    """The number of texts of `other` from one of the baseline's two runs, of those in which the two runs differ.

    Greedy decoding repeats short texts in most runs, so that copies of them prove nothing. Where the baseline's own two
    runs differ, noise decides, and other weights seldom find either text again: less often than where the two agree.
    None where they do not, and where answers are drawn: the control's draws are others'.
    """
    if one != answers.baseline or answers.control is None or answers.temperature != 0:
        return None
    first, second, own = (answers.sheets[name] for name in (one, answers.control, other))
    runs = {key: (a, b) for key, a, b in _told(first, second) if max(len(a), len(b)) >= TELLING}
    written = [(text, *runs[key]) for key, text, _ in _told(own, own) if key in runs]
    unstable = [(a == text, b == text) for text, a, b in written if a != b]
    stable = [a == text for text, a, b in written if a == b]
    same, of = max(map(sum, zip(*unstable, strict=True)), default=0), len(unstable)
    if not same:
        return None
    least = float(betaincinv(same, of - same + 1, COPIED))  # Clopper and Pearson's limits
    others = sum(stable)
    most = float(betaincinv(others + 1, len(stable) - others, 1 - COPIED)) if others < len(stable) else 1.0
    copied = bdtrc(same - 1, of, UNSTABLE_SAME) < COPIED or least > UNSTABLE_RATIO * most
    return (same, of) if copied else None


def _told(one: Sheet, other: Sheet) -> list[tuple[SampleKey, str, str]]:
    """The keys that both have, with their texts, white space made equal."""
    shared = one.samples.keys() & other.samples.keys()
    return [(k, " ".join(one.samples[k].text.split()), " ".join(other.samples[k].text.split())) for k in shared]


def _telling_pairs(one: Sheet, other: Sheet) -> list[tuple[str, str]]:
    """Both variants' texts, white space made equal, without short ones and those that are the answer to several."""
    pairs = [(a, b) for _, a, b in _told(one, other)]
    times = Counter(a for a, _ in pairs)
    return [(a, b) for a, b in pairs if max(len(a), len(b)) >= TELLING and times[a] == 1]
