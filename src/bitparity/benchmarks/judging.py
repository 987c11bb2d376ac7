"""Judgment of answers by a model: its prompt, the reading of its reply, and its effect on a grade.

The prompt is that of the Center for AI Safety (centerforaisafety/hle at 26dca2e, hle_eval/run_judge_results.py,
JUDGE_PROMPT), typing errors included. CAIS asks for the four fields as structured output; here the reply is read as
the text that the prompt demands, or as JSON, so that any OpenAI-compatible endpoint will do.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

from bitparity.benchmarks.prompts import packaged_prompt
from bitparity.records import Grade

METRIC = "judge"
JUDGE_PROMPT = packaged_prompt("judge.txt")


@dataclass(frozen=True, slots=True)
class Judgment:
    """A judge's verdict on one sample. `correct` is None where there is no verdict, and `error` says why."""

    correct: bool | None
    extracted: str | None = None
    error: str | None = None


def judge_prompt(question: str, response: str, correct_answer: str) -> str:
    """The judge's prompt; braces in the texts stay as they are."""
    return JUDGE_PROMPT.format(question=question, response=response, correct_answer=correct_answer)


_LINE = r"(?im)^[^\w\n]{{0,8}}{name}[\"'*_`\s]{{0,4}}:[\"'*_`\s]{{0,6}}{value}"
_CORRECT = re.compile(_LINE.format(name="correct", value=r"(yes|no)\b"))
_EXTRACTED = re.compile(_LINE.format(name="extracted_final_answer", value=r"([^\n]{1,2000})"))
_THOUGHT_END = "</think>"


def read_reply(reply: str) -> Judgment:
    """The verdict in a judge's reply: its field `correct`. None where there is no clear one, or yes and no."""
    said = reply.rpartition(_THOUGHT_END)[2]
    fields = _json_fields(said)
    if fields is not None:
        verdicts, extracted = [str(fields.get("correct", "")).strip().lower()], fields.get("extracted_final_answer")
    else:
        verdicts = [verdict.lower() for verdict in _CORRECT.findall(said)]
        found = _EXTRACTED.search(said)
        extracted = found[1].strip(" *`\"',") if found else None
    if set(verdicts) in ({"yes"}, {"no"}):
        return Judgment(verdicts[0] == "yes", None if extracted is None else str(extracted))
    return Judgment(None, error="the judge's reply has no clear 'correct: yes' or 'correct: no'")


def _json_fields(text: str) -> dict[str, object] | None:
    start, end = text.find("{"), text.rfind("}")
    try:
        found = json.loads(text[start : end + 1]) if 0 <= start < end else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "correct" in found else None


def judged(grade: Grade, judgment: Judgment | None, primary: bool) -> Grade:
    """A grade with the judge's verdict among its metrics, and as its score where the judge is `primary`.

    Without a verdict the sample is unscored for the judge, never wrong. An engine's failure stays what it is.
    """
    if judgment is not None and judgment.correct is not None:
        score, status = float(judgment.correct), grade.status
        if status == "infrastructure_error" or (status == "no_answer" and names_answer(judgment)):
            status = "answered"
        if not primary and grade.score is None:
            return grade
        extracted = grade.extracted or (judgment.extracted if names_answer(judgment) else None)
        with_it = replace(grade, status=status, extracted=extracted, metrics={**grade.metrics, METRIC: score})
        return replace(with_it, score=score) if primary else with_it
    if judgment is None and grade.status == "infrastructure_error":
        return grade
    reason = f"no verdict of the judge: {judgment.error if judgment else 'it was not asked; run the study again'}"
    metrics = {name: value for name, value in grade.metrics.items() if name != METRIC}
    if not primary:
        return replace(grade, metrics=metrics, details={**grade.details, METRIC: reason})
    return Grade(None, "infrastructure_error", grade.extracted, metrics, {**grade.details, "error": reason})


def names_answer(judgment: Judgment) -> bool:
    """True where the judge found a final answer at all."""
    return (judgment.extracted or "").strip(" .'\"*").lower() not in ("", "none")
