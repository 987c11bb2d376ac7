"""Humanity's Last Exam, its text-only questions (Phan et al. 2025, arXiv 2501.14249).

Data set: cais/hle, split test, gated; fields id, question, image (a data URI, empty for a text question), answer,
answer_type (exactMatch or multipleChoice), category. Questions with an image are left out and counted. Its authors
ask that no question be published: reports name item ids only.
Metric: `exact_match`, multiple choice by letter, other answers as normalised texts, numbers or by Math-Verify 0.9.0:
stricter than the published figures, which a model judges. With the setting `judge`, `judge` is the primary metric and
`exact_match` stands beside it.
Answer pattern: the last line "Answer: ...", else a box or "the answer is ...".
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterable, Sequence
from typing import ClassVar

from bitparity.benchmarks.answers import Stated, final_answer, labelled_answer
from bitparity.benchmarks.contract import Info, JudgeSettings, Settings, Source
from bitparity.benchmarks.dataset import Row, RowsBenchmark, content_hash
from bitparity.benchmarks.judging import JUDGE_PROMPT, METRIC, judge_prompt
from bitparity.benchmarks.letters import final_letter, options_of
from bitparity.benchmarks.mathematics import equal, is_whole, math_verify_equal
from bitparity.benchmarks.patterns import compiled
from bitparity.benchmarks.prompts import packaged_prompt
from bitparity.errors import DataError
from bitparity.records import Completion, Grade, Item, Prompt

# centerforaisafety/hle at 67b3251, hle_eval/run_model_predictions.py, SYSTEM_PROMPT: one for all questions
SYSTEM_PROMPT = packaged_prompt("hle_system.txt")
TYPES = ("exactMatch", "multipleChoice")
MOST_WORDS = 6  # an answer of more words is compared as text alone

_PATTERNS = compiled("hle")


class HleSettings(Settings):
    """`judge`: a model that judges the answers, as CAIS does."""

    judge: JudgeSettings | None = None


class Hle(RowsBenchmark):
    """The text-only part of Humanity's Last Exam."""

    # the commit that inspect_evals 0.26.0 pins (hle/dataset.py): 2,500 questions, 342 of them with an image
    source = Source(
        "cais/hle",
        "test",
        "5a81a4c7271a2a2a312b9a690f0c2fde837e4c29",
        gated=True,
        rows=2500,
        task_names=r"(?<![a-z])hle(?![a-z])",
    )
    fields: ClassVar = {"id": (str,), "question": (str,), "answer": (str,), "answer_type": (str,)}
    info = Info(
        title="Humanity's Last Exam, text only",
        items=2158,
        forms=("chat",),
        metric="exact_match",
        source=source,
        aliases=("Humanity's Last Exam", "人类最后的考试", "人类终极考试"),
        label_words="text only 纯文本 文本",
    )
    slow_grader: ClassVar[bool] = True
    settings_type = HleSettings
    settings: HleSettings

    @property
    def judge(self) -> JudgeSettings | None:
        """The judge of the study, None where there is none."""
        return self.settings.judge

    @property
    def metric(self) -> str:
        """`judge` where there is one."""
        return self.spec.metric or (METRIC if self.judge else self.info.metric)

    def items(self) -> Iterable[Item]:
        """The questions without an image; the category is the subgroup."""
        rows = self.rows(lambda row: str(row["id"]))
        for row in rows:
            _check(row)
        asked = [row for row in rows if not row["image"]]
        self._provenance |= {"images_left_out": len(rows) - len(asked)}
        if self.judge:
            prompt_sha256 = content_hash([{"prompt": JUDGE_PROMPT}], ["prompt"])
            judge = {"model": self.judge.model, "base_url": self.judge.base_url, "prompt_sha256": prompt_sha256}
            self._provenance |= {"judge": judge}
        for row in asked:
            letters = _letters(row)
            messages = ({"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": row["question"]})
            reference = _key_letter(row["answer"]) if letters else row["answer"]
            about = {"letters": letters, "answer": row["answer"]}
            yield Item(row["id"], (Prompt(messages=messages),), reference, None, row.get("category"), about)

    def notes(self) -> list[str]:
        """The number of questions left out for their image."""
        left_out = self._provenance.get("images_left_out")
        said = f"{left_out} questions show an image and are left out; the others are asked"
        return super().notes() + ([said] if left_out else [])

    def load_grader(self) -> None:
        """Import Math-Verify and SymPy."""
        math_verify_equal("1", "1")

    def grade(self, item: Item, completion: Completion) -> Grade:
        """The stated letter or answer against the key; the judge's verdict is added by `judging.judged`."""
        ended = completion.finish != "length"
        if item.metadata["letters"]:
            said = final_letter(completion.text, item.metadata["letters"], ended, options_of(item))
            right = said == item.reference
        else:
            stated = labelled_answer(completion.text) or final_answer(completion.text, ended)
            said = stated.options[0] if stated else None
            right = stated is not None and matches(stated, str(item.reference))
        score = float(right)
        return Grade(score, "no_answer" if said is None else "answered", said, {"exact_match": score})

    def judge_prompt(self, item: Item, answer: str, sample: int) -> str:
        """The judge's question about one answer."""
        question = (item.prompts[0].messages or ())[-1]["content"]
        return judge_prompt(question, answer, item.metadata["answer"])


def _check(row: Row) -> None:
    if "image" not in row:
        raise DataError(
            f"HLE question {row['id']}: field image missing; without it a question about an image would be asked "
            "as text; keep the field, empty for text questions"
        )
    if row["answer_type"] not in TYPES:
        raise DataError(f"HLE question {row['id']}: answer_type '{row['answer_type']}' is none of {', '.join(TYPES)}")


def _key_letter(answer: str) -> str | None:
    match = _PATTERNS["key"].fullmatch(answer.strip())
    return match and match[1]


def _letters(row: Row) -> str | None:
    """The letters of a multiple-choice question's options; None for another question, or a key that is no letter."""
    key = _key_letter(row["answer"])
    if row["answer_type"] != "multipleChoice" or key is None:
        return None
    last = max([key, *_PATTERNS["option"].findall(row["question"])])
    return string.ascii_uppercase[: string.ascii_uppercase.index(last) + 1]


def matches(stated: Stated, reference: str) -> bool:
    """True where a stated answer equals the key: as normalised text, or, where the key is mathematics, in its value."""
    cased = _PATTERNS["cased"].fullmatch(reference.strip()) is not None
    same = [option for option in stated.options if text_key(option) == text_key(reference) != ""]
    if any(not cased or text_key(option, cased) == text_key(reference, cased) for option in same):
        return True
    if not is_mathematical(reference) or _PATTERNS["code"].fullmatch(reference.strip()):
        return False
    others = [option for option in stated.options if option not in same]
    short = [o for o in others if len(_words(o)) <= MOST_WORDS and not _PATTERNS["code"].fullmatch(o.strip(" $"))]
    return any(equal(option, reference, boxed=is_whole(stated, option)) for option in short)


def text_key(text: str, cased: bool = False) -> str:
    """A text without markup, accents' spelling, outer punctuation, article and, unless `cased`, case."""
    plain = unicodedata.normalize("NFKC", text)
    plain = plain if cased else plain.casefold()
    plain = " ".join(_PATTERNS["markup"].sub("", plain).split()).strip(" .;,!'‘’")
    return _PATTERNS["article"].sub("", plain)


def is_mathematical(reference: str) -> bool:
    """True for a key that is an expression rather than words: no word of three letters but names of functions."""
    return not _words(reference) and any(c.isalnum() or c == "\\" for c in reference)


def _words(text: str) -> Sequence[str]:
    return _PATTERNS["word"].findall(_PATTERNS["command"].sub(" ", text))


BENCHMARK = Hle
