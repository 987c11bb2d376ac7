"""Guards on what the models wrote: cut off, silent, empty, looping, all the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

from bitparity.grading.reasoning import TURN_END, UNNAMED_TAG, closing_tag
from bitparity.records import Finish
from bitparity.results.guards.facts import Answers, differences, guard, level, shown, text
from bitparity.results.guards.suspects import looping, not_one_box
from bitparity.results.schema import Guard, Level
from bitparity.results.sheet import Sheet
from bitparity.stats.texts import character_kind

# Thresholds, as fractions of the completions.
CUT_OFF_WARNING, CUT_OFF_ERROR = 0.02, 0.30  # a score with more cut-offs says more about the budget than the model
CUT_OFF_GAP, CUT_OFF_GAP_ERROR = 0.02, 0.10  # differences between variants that can pass for a loss
NO_ANSWER_WARNING, NO_ANSWER_ERROR = 0.05, 0.20
NO_ANSWER_GAP, NO_ANSWER_GAP_ERROR = 0.02, 0.10
UNASKED = 0.10  # with other than one box: with fewer, one was asked for; 0.5B and 1.5B models then have 0.0 to 0.6 %
LOOPS_WARNING = 0.01  # of 26,000 recorded answers that ended by themselves none loops
UNNAMED_ERROR = 0.01  # reasonings that nobody asked for
BEYOND_TURN_WARNING = 0.01
DAMAGED_WARNING, DAMAGED_ERROR = 0.02, 0.10  # texts that were changed on their way from the model
DAMAGES = {  # by the key of their message
    "entities": re.compile(r"&(?:lt|gt|amp|quot|#39|#x27);"),
    "characters": re.compile("[\u0080-\u0084\u0086-\u009f\ufffd]|\u00e2\u20ac"),  # UTF-8 read as Latin-1
    "line_ends": re.compile(r"\A(?=[^\n]*\Z)(?:[^\n]*?\\n(?![a-zA-Z])){3}"),
}
# Characters in more than COMMON of one variant's long texts and in fewer than SELDOM of the other's
COMMON, SELDOM = 0.50, 0.05
SWAPPED, TIMES = 0.10, 10.0  # a sign of more than SWAPPED has become TIMES rarer, and another as much more frequent
# what programs change; any other sign may be a matter of style
DAMAGED = {"CAPITAL letters", "SMALL letters", "line ends", "indents", "SPACE", "REVERSE SOLIDUS"}
DAMAGED |= {"QUOTATION MARK", "APOSTROPHE"}
LATIN = ("CAPITAL letters", "SMALL letters", "LATIN letters")
ASCII = {character_kind(chr(code)) for code in range(32, 127)} | {"line ends", "indents"}  # that a style may bring
EMPTY_WARNING, EMPTY_ERROR = 0.01, 0.10
IDENTICAL_WARNING, IDENTICAL_ERROR = 0.02, 0.20  # one and the same long text as the answer to different questions
ONE_ANSWER_ERROR = 0.95  # one and the same text, however short
BOXED = 0.05  # share of boxed answers from which on a score of 0 throughout is more likely the grader's doing

LONG = 200  # characters: two models do not write the same text of this length by chance
ENOUGH = 20  # texts of that length before "all identical" says something

Share = Callable[[Sheet], float | None]


def cut_off(answers: Answers) -> Iterator[Guard]:
    """Answers that ended at the token budget."""
    for name, share in _above(answers, Sheet.cut_off, CUT_OFF_WARNING):
        key = "message" if answers.budget is not None else "limit"
        yield guard("cut_off", name, level(share, CUT_OFF_ERROR), share, key, budget=answers.budget)


def cut_off_difference(answers: Answers) -> Iterator[Guard]:
    """One variant runs into the budget more often than the baseline."""
    for name, gap, shares in _apart(answers, Sheet.cut_off, CUT_OFF_GAP):
        lost, cut = _lost(answers.beside(name), answers.sheets[name])
        found = level(abs(gap), CUT_OFF_GAP_ERROR)
        yield guard("cut_off_difference", name, found, gap, **shares, lost=lost, cut=cut)


def _lost(baseline: Sheet, sheet: Sheet) -> tuple[int, int]:
    """The number of samples right in the baseline and wrong here, and how many of them were cut off."""
    right = {key for key, grade in baseline.grades.items() if (grade.score or 0.0) >= 0.5}
    lost = [key for key in right if key in sheet.grades and (sheet.grades[key].score or 0.0) < 0.5]
    return len(lost), sum(key in sheet.samples and sheet.samples[key].finish == "length" for key in lost)


def no_answer(answers: Answers) -> Iterator[Guard]:
    """Completions that hold no readable answer."""
    for name, share in _above(answers, Sheet.no_answer, NO_ANSWER_WARNING):
        yield guard("no_answer", name, level(share, NO_ANSWER_ERROR), share, answers.source)


def no_answer_difference(answers: Answers) -> Iterator[Guard]:
    """One variant leaves more questions without a readable answer than the baseline."""
    for name, gap, shares in _apart(answers, Sheet.no_answer, NO_ANSWER_GAP):
        found = level(abs(gap), NO_ANSWER_GAP_ERROR)
        yield guard("no_answer_difference", name, found, gap, answers.source, **shares)


def box_difference(answers: Answers) -> Iterator[Guard]:
    """One variant has other than one LaTeX box, which nearly all answers of the other have, more often."""
    for name, sheet in answers.others():
        here, baseline = _not_one_box(sheet), _not_one_box(answers.beside(name))
        if here is None or baseline is None or min(here, baseline) > UNASKED:
            continue
        if abs(gap := here - baseline) > NO_ANSWER_GAP:
            found, figures = level(abs(gap), NO_ANSWER_GAP_ERROR), {"here": shown(here), "baseline": shown(baseline)}
            yield guard("box_difference", name, found, gap, **figures)


def _not_one_box(sheet: Sheet) -> float | None:
    finished = sum(sample.finish == "stop" for sample in sheet.written())
    return len(not_one_box(sheet)) / finished if finished >= ENOUGH else None


def answers_not_read(answers: Answers) -> Iterator[Guard]:
    """Responses with their answer in a LaTeX box, all of them scored 0, as a grader does that does not read boxes."""
    for name, sheet in answers.started():
        boxed = [grade.details["boxed"] for grade in sheet.grades.values() if "boxed" in grade.details]
        share = len(boxed) / len(sheet.samples)
        if share >= BOXED and not any(grade.score for grade in sheet.grades.values()):
            known = text("answers_not_read", "known", right=sum(boxed)) if any(boxed) else ""
            figures = {"boxed": len(boxed), "responses": len(sheet.samples), "known": known}
            yield guard("answers_not_read", name, "error", share, **figures)


def unnamed_reasoning(answers: Answers) -> Iterator[Guard]:
    """Reasonings in tags that the protocol does not name; in logs of lm-eval those that never end."""
    for name, sheet in answers.started():
        share, tag = _detail(sheet, UNNAMED_TAG)
        if share > UNNAMED_ERROR:
            yield guard("unnamed_reasoning", name, "error", share, answers.source, start=tag, end=closing_tag(tag))


def beyond_turn(answers: Answers) -> Iterator[Guard]:
    """Answers in which the model wrote on behind the end of its turn; nothing behind it was graded."""
    for name, sheet in answers.started():
        share, marker = _detail(sheet, TURN_END)
        if share > BEYOND_TURN_WARNING:
            yield guard("beyond_turn", name, "warning", share, marker=marker)


def damaged_text(answers: Answers) -> Iterator[Guard]:
    """Texts that a server or a script has escaped, or decoded wrongly: code and formulas in them cannot be graded."""
    for name, sheet in answers.started():
        texts = [sample.text for sample in sheet.written()]
        for damage, sign in DAMAGES.items():
            share = sum(sign.search(text) is not None for text in texts) / max(len(texts), 1)
            if share > DAMAGED_WARNING:
                yield guard("damaged_text", name, level(share, DAMAGED_ERROR), share, damage)


def changed_characters(answers: Answers) -> Iterator[Guard]:
    """Kinds of characters that a variant's texts have lost beside the baseline's, or foreign ones that they have.

    Another precision writes the same signs. One that has lost most of them writes no sense any more, which is its own.
    """
    usual = _characters(answers.first)
    for name, sheet in answers.others():
        found = _characters(sheet)
        if not usual or not found:
            continue
        lost = {kind for kind, share in usual.items() if share > COMMON and found.get(kind, 0.0) < SELDOM}
        new = {kind for kind, share in found.items() if share > COMMON and usual.get(kind, 0.0) < SELDOM} - ASCII
        known = sum(share > COMMON for share in usual.values())
        damage = lost & DAMAGED
        gone = {kind for kind in DAMAGED if usual.get(kind, 0.0) > max(SWAPPED, TIMES * found.get(kind, 0.0))}
        come = {kind for kind, share in found.items() if share > max(SWAPPED / 2, TIMES * usual.get(kind, 0.0))} - ASCII
        if gone and come:
            damage, new = damage | gone, new | come
        language = any(kind.endswith(" letters") and kind not in LATIN for kind in new)  # signs come with it
        if (damage or new) and 2 * len(lost) <= known and not language:
            said = {"lost": ", ".join(sorted(damage)) or "-", "new": ", ".join(sorted(new)) or "-"}
            yield guard("damaged_text", name, "error", None, "changed", **said)


def _characters(sheet: Sheet) -> dict[str, float]:
    """By kind of character the share of the long texts that have it; empty where these are few."""
    texts = [sample.text for sample in sheet.written() if len(sample.text) >= LONG]
    found = Counter(kind for text in texts for kind in {character_kind(character) for character in set(text)})
    found["indents"] = sum(re.search(r"\n[ \t]", text) is not None for text in texts)
    return {kind: count / len(texts) for kind, count in found.items()} if len(texts) >= ENOUGH else {}


def _detail(sheet: Sheet, name: str) -> tuple[float, str]:
    """The share of the answers whose grade has this detail, and its most frequent value."""
    found = Counter(str(grade.details[name]) for grade in sheet.grades.values() if name in grade.details)
    return found.total() / len(sheet.samples), next((value for value, _ in found.most_common(1)), "")


def loops(answers: Answers) -> Iterator[Guard]:
    """Answers that repeat themselves until the token budget ends them, or until an end that counts as their own."""
    finished: Level = "error" if answers.source == "run" else "warning"
    ends: tuple[tuple[Finish, Level, str], ...] = (("length", "warning", "message"), ("stop", finished, "finished"))
    for end, found, key in ends:
        for name, sheet in answers.started():
            if (share := len(looping(sheet, end)) / len(sheet.samples)) > LOOPS_WARNING:
                yield guard("loops", name, found, share, key)


def empty(answers: Answers) -> Iterator[Guard]:
    """Completions without a single visible character."""
    for name, sheet in answers.started():
        blank = [not sample.text.strip() for sample in sheet.written()]
        if blank and (share := sum(blank) / len(blank)) > EMPTY_WARNING:
            yield guard("empty", name, level(share, EMPTY_ERROR), share)


def identical(answers: Answers) -> Iterator[Guard]:
    """One and the same text as the answer to many different questions."""
    for name, sheet in answers.started():
        written = [s.text for s in sheet.written() if s.text.strip()]
        if len(written) < ENOUGH:
            continue
        same, times = Counter(written).most_common(1)[0]
        share = times / len(written)
        long = len(same) >= LONG or len(same.split()) >= LONG // 10
        if (long and times > 1 and share > IDENTICAL_WARNING) or share > ONE_ANSWER_ERROR:
            found = level(share, IDENTICAL_ERROR if long else ONE_ANSWER_ERROR)
            yield guard("identical", name, found, share, length=len(same))


def settings_differ(answers: Answers) -> Iterator[Guard]:
    """Sampling values, as the source notes them, that are not the baseline's."""
    ours = answers.first.settings
    for name, sheet in answers.others():
        theirs = sheet.settings
        if ours is not None and theirs is not None and (differing := differences(ours, theirs, 4)):
            figures = {"baseline": answers.baseline, "differing": differing}
            yield guard("sampling_differs", name, "error", None, "baseline", **figures)


def _above(answers: Answers, share: Share, least: float) -> Iterator[tuple[str, float]]:
    """The variants of whose answers a greater share is such, with that share."""
    shares = ((name, share(sheet) or 0.0) for name, sheet in answers.started())
    return ((name, value) for name, value in shares if value > least)


def _apart(answers: Answers, share: Share, least: float) -> Iterator[tuple[str, float, dict[str, str]]]:
    """The variants whose share is further from the baseline's: the gap as a fraction, and both shares in words."""
    for name, sheet in answers.started():
        here, baseline = share(sheet) or 0.0, share(answers.beside(name)) or 0.0
        if abs(here - baseline) > least:
            yield name, here - baseline, {"here": shown(here), "baseline": shown(baseline)}
