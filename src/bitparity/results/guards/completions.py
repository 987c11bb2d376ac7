"""Guards on what the models wrote: cut off, silent, empty, looping, all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from bitparity.results.guards.facts import Answers, guard, level, shown
from bitparity.results.schema import Guard

if TYPE_CHECKING:
    from bitparity.records import Sample
    from bitparity.results.sheet import Sheet

# Thresholds, as fractions of the completions.
CUT_OFF_WARNING, CUT_OFF_ERROR = 0.02, 0.30  # a score with more cut-offs says more about the budget than the model


CUT_OFF_GAP, CUT_OFF_GAP_ERROR = 0.02, 0.10  # differences between variants that can pass for a loss


NO_ANSWER_WARNING, NO_ANSWER_ERROR = 0.05, 0.20


NO_ANSWER_GAP, NO_ANSWER_GAP_ERROR = 0.02, 0.10


LOOPS_WARNING = 0.01


EMPTY_WARNING, EMPTY_ERROR = 0.01, 0.10


IDENTICAL_WARNING, IDENTICAL_ERROR = 0.02, 0.20  # one and the same long text as the answer to different questions


ONE_ANSWER_ERROR = 0.95  # one and the same text, however short


LONG = 200  # characters: two models do not write the same text of this length by chance


ENOUGH = 20  # texts of that length before "all identical" says something


BOXED = 0.05  # share of boxed answers from which on a score of 0 throughout is more likely the grader's doing


LOOP_TAIL, LOOP_REPEATS = 200, 3  # a loop fills this many characters and says its unit this often


def cut_off(answers: Answers) -> Iterator[Guard]:
    """Answers that ended at the token budget."""
    for name, sheet in answers.started():
        share = sheet.cut_off() or 0.0
        if share > CUT_OFF_WARNING:
            message = (
                f"{shown(share)} of the answers ended at the budget of {answers.budget} tokens "
                "and may be wrong for that reason alone; raise max_tokens, or look for loops"
            )
            yield guard("cut_off", name, level(share, CUT_OFF_ERROR), share, message)


def cut_off_difference(answers: Answers) -> Iterator[Guard]:
    """One variant runs into the budget more often than the baseline."""
    baseline = answers.first.cut_off() or 0.0
    for name, sheet in answers.started():
        share = sheet.cut_off() or 0.0
        if abs(share - baseline) > CUT_OFF_GAP:
            lost, cut = _lost(answers, name, sheet)
            yield guard(
                "cut_off_difference",
                name,
                level(abs(share - baseline), CUT_OFF_GAP_ERROR),
                share - baseline,
                f"cut off {shown(share)} against {shown(baseline)} of the baseline: of the {lost} samples that were "
                f"right in the baseline and wrong here, {cut} ran into the token budget; raise max_tokens to see "
                "whether accuracy is lost or only brevity",
            )


def _lost(answers: Answers, name: str, sheet: Sheet) -> tuple[int, int]:
    """How many samples the baseline had right and this variant wrong, and how many of them were cut off."""
    right = {key for key, grade in answers.first.grades.items() if grade.score is not None and grade.score >= 0.5}
    lost = [key for key in right if key in sheet.grades and (sheet.grades[key].score or 0.0) < 0.5]
    return len(lost), sum(key in sheet.samples and sheet.samples[key].finish == "length" for key in lost)


def no_answer(answers: Answers) -> Iterator[Guard]:
    """Completions that hold no readable answer."""
    for name, sheet in answers.started():
        share = sheet.status("no_answer") or 0.0
        if share > NO_ANSWER_WARNING:
            message = (
                f"{_reader(answers)} found no answer in {shown(share)} of the responses, which count as wrong; "
                "read some of them"
                + (" in the samples file: prompt or answer format may not fit the model" if answers.of_run else "")
            )
            yield guard("no_answer", name, level(share, NO_ANSWER_ERROR), share, message)


def no_answer_difference(answers: Answers) -> Iterator[Guard]:
    """One variant leaves more questions without a readable answer than the baseline."""
    baseline = answers.first.status("no_answer") or 0.0
    for name, sheet in answers.started():
        share = sheet.status("no_answer") or 0.0
        if abs(share - baseline) > NO_ANSWER_GAP:
            yield guard(
                "no_answer_difference",
                name,
                level(abs(share - baseline), NO_ANSWER_GAP_ERROR),
                share - baseline,
                f"{_reader(answers)} found no answer in {shown(share)} of the responses against {shown(baseline)} of "
                "the baseline's: part of the difference is the form of the answers, not their content"
                + ("; read some in the samples file before you call it a loss of knowledge" if answers.of_run else ""),
            )


def _reader(answers: Answers) -> str:
    """The name of what reads answers: lm-eval calls it a filter."""
    return "the grader" if answers.of_run else "the filter"


def loops(answers: Answers) -> Iterator[Guard]:
    """Answers that repeat themselves until the token budget ends them."""
    for name, sheet in answers.started():
        cut = [sample for sample in sheet.samples.values() if sample.finish == "length"]
        share = sum(is_loop(sample.text) for sample in cut) / len(sheet.samples)
        if share > LOOPS_WARNING:
            message = (
                f"{shown(share)} of the answers repeat themselves up to the token budget: greedy decoding and damaged "
                "weights both do that; a larger budget will not help, another temperature or repetition_penalty may"
            )
            yield guard("loops", name, "warning", share, message)


def is_loop(text: str) -> bool:
    """Whether a text ends in one unit said over and over, at least three times and over 200 characters.

    The unit's length is the distance between the text's last characters and where they stood before.
    """
    end = text[-50:]
    before = text.rfind(end, 0, len(text) - 1)
    if before < 0:
        return False
    unit = len(text) - len(end) - before
    tail = max(LOOP_REPEATS * unit, LOOP_TAIL)
    return len(text) >= tail and text[-tail:-unit] == text[len(text) - tail + unit :]


def answers_not_read(answers: Answers) -> Iterator[Guard]:
    """Responses with their answer in a LaTeX box, all of them scored 0, as a grader does that does not read boxes."""
    for name, sheet in answers.started():
        boxed = [grade.details["boxed"] for grade in sheet.grades.values() if "boxed" in grade.details]
        share = len(boxed) / len(sheet.samples)
        if share >= BOXED and not any(grade.score for grade in sheet.grades.values()):
            known = f", in {sum(boxed)} of them with exactly the reference answer in it" if any(boxed) else ""
            message = (
                f"{len(boxed)} of {len(sheet.samples)} responses hold a \\boxed answer{known}, yet every one is scored "
                "0: the grader may not read boxed answers (lm-eval's hendrycks_math500 takes what stands between the "
                "first and the last dollar sign). Grade again with another task, filter or metric"
            )
            yield guard("answers_not_read", name, "error", share, message)


def empty(answers: Answers) -> Iterator[Guard]:
    """Completions without a single visible character."""
    for name, sheet in answers.started():
        written = _written(sheet.samples.values())
        share = sum(not text.strip() for text in written) / len(written) if written else 0.0
        if share > EMPTY_WARNING:
            message = (
                f"{shown(share)} of the completions are empty: the model ended at once; check its chat template and "
                "end tokens, and whether its weights were read right"
            )
            yield guard("empty", name, level(share, EMPTY_ERROR), share, message)


def identical(answers: Answers) -> Iterator[Guard]:
    """One and the same text as the answer to many different questions."""
    for name, sheet in answers.started():
        written = [text for text in _written(sheet.samples.values()) if text.strip()]
        if len(written) < ENOUGH:
            continue
        text, times = Counter(written).most_common(1)[0]
        share = times / len(written)
        long = len(text) >= LONG or len(text.split()) >= LONG // 10
        if (long and times > 1 and share > IDENTICAL_WARNING) or share > ONE_ANSWER_ERROR:
            message = (
                f"{shown(share)} of the completions are one and the same text of {len(text)} characters, "
                "whatever the question: the model is broken or the questions did not "
                "reach it; look at the prompts and at its weights"
            )
            yield guard("identical", name, level(share, IDENTICAL_ERROR if long else ONE_ANSWER_ERROR), share, message)


def same_answers(answers: Answers) -> Iterator[Guard]:
    """Two variants whose long completions are the same to the letter: one model ran under two names."""
    names = [name for name, _ in answers.started() if name != answers.control]
    for position, one in enumerate(names):
        for other in names[position + 1 :]:
            pairs = _long_pairs(answers.sheets[one], answers.sheets[other])
            if len(pairs) >= ENOUGH and all(a == b for a, b in pairs):
                message = (
                    f"all {len(pairs)} long completions of '{one}' and '{other}' are the same to the letter, which "
                    "other weights do not do: most likely one model ran under both names; check the model paths"
                )
                yield guard("same_answers", other, "error", 1.0, message)


def _long_pairs(one: Sheet, other: Sheet) -> list[tuple[str, str]]:
    shared = one.samples.keys() & other.samples.keys()
    pairs = [(one.samples[key].text, other.samples[key].text) for key in shared]
    return [pair for pair in pairs if max(map(len, pair)) >= LONG]


def _written(samples: Iterable[Sample]) -> list[str]:
    """The texts of the completions that were to be written; log-likelihood samples have none."""
    return [s.text for s in samples if s.logprobs is None and s.finish != "error"]


RULES = (
    cut_off,
    cut_off_difference,
    no_answer,
    no_answer_difference,
    answers_not_read,
    loops,
    empty,
    identical,
    same_answers,
)
