"""MMLU-Pro: 12,032 multiple-choice questions with 3 to 10 options, 14 categories (Wang et al. 2024, arXiv 2406.01574).

Data set: TIGER-Lab/MMLU-Pro, splits test and (few-shot examples) validation; fields question_id, question, options,
answer, category; cot_content in the examples.
Metric: `exact_match` of the letter that the text chooses (see `letters`), next to `lm_eval_exact_match`, the metric of
lm-eval 0.4.13's task mmlu_pro on the same completion: the first match of `answer is \\(?([A-J])\\)?`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

from bitparity.benchmarks.contract import Info, Source
from bitparity.benchmarks.dataset import Row, RowsBenchmark, load_rows
from bitparity.benchmarks.letters import final_letter, options_of, question_of
from bitparity.benchmarks.prompts import packaged_prompt
from bitparity.errors import DataError
from bitparity.records import Completion, Grade, Item, Message, Prompt

LETTERS = "ABCDEFGHIJ"
SHOTS = 5
VALIDATION_ROWS = 70  # five worked examples for each of 14 categories
FEWSHOT_FIELDS = {"question": (str,), "options": (list,), "cot_content": (str,), "category": (str,)}

# The zero-shot prompt of the data set's authors: TIGER-AI-Lab/MMLU-Pro at 11a4b34,
# evaluate_gemini_3-1_pro_0shot.py, build_prompt and format_example
CHAT_PROMPT = packaged_prompt("mmlu_pro_chat.txt")

# lm_eval/tasks/mmlu_pro at 0.4.13: _default_template_yaml, utils.py, the 14 task files
DESCRIPTION = packaged_prompt("mmlu_pro_lm_eval.txt")
STEP_BY_STEP = "A: Let's think step by step. "
LM_EVAL_ANSWER = re.compile(r"answer is \(?([ABCDEFGHIJ])\)?")

_NEXT_QUESTION = re.compile(r"^[ \t]*Question:", re.MULTILINE)


class MmluPro(RowsBenchmark):
    """MMLU-Pro."""

    source = Source(
        "TIGER-Lab/MMLU-Pro",
        "test",
        "527feea0afed1de15a8c115abf7be4c912123315",
        rows=12032,
        sha256="bbd0c5d4093c3413ff4c14d5219eff579c6031fb22dde4dc1f4f06b880e4b819",
    )
    fields: ClassVar = {"question_id": (int,), "options": (list,)} | dict.fromkeys(
        ("question", "answer", "category"), (str,)
    )
    info = Info(
        title="MMLU-Pro",
        items=12032,
        forms=("chat", "lm-eval"),
        metric="exact_match",
        source=source,
        chance=0.1,
        question_tokens=163,
        fewshot_factor=1 + SHOTS,
        subtasks=14,
    )
    lm_eval_settings: ClassVar = {"stop": ["Question:"], "temperature": 0.0, "max_tokens": 2048}

    def items(self) -> Iterable[Item]:
        """The questions; the category is the subgroup."""
        rows = self.rows(lambda row: str(row["question_id"]))
        shots = self._examples({row["category"] for row in rows}) if self.spec.form == "lm-eval" else {}
        for row in rows:
            name, about = str(row["question_id"]), {"letters": _letters(row)}
            yield Item(name, (self._prompt(row, shots),), row["answer"], None, row["category"], about)

    def _prompt(self, row: Row, shots: dict[str, list[Message]]) -> Prompt:
        if self.spec.form == "chat":
            options = _option_lines(row["options"])
            asked = {"category": row["category"], "question": row["question"], "options": options}
            return self.prompt_of(CHAT_PROMPT.format(**asked))
        messages = [*shots[row["category"]], {"role": "user", "content": _question(row)}]
        if self.spec.protocol.apply_chat_template:
            return Prompt(messages=tuple(messages))
        ends = {"system": "", "user": " ", "assistant": "\n\n"}
        return Prompt(text="".join(m["content"] + ends[m["role"]] for m in messages).removesuffix(" "))

    def _examples(self, categories: set[str]) -> dict[str, list[Message]]:
        """The description and the first five worked examples of each category, as chat turns."""
        source = replace(self.source, split="validation", rows=VALIDATION_ROWS, sha256=None)
        rows, self._provenance["fewshot"] = load_rows(self.spec.fewshot_data, source, FEWSHOT_FIELDS)
        found: dict[str, list[Message]] = {}
        for category in sorted(categories):
            examples = [row for row in rows if row["category"] == category][:SHOTS]
            if len(examples) < SHOTS:
                raise DataError(
                    f"{self.spec.fewshot_data or self.source.path}: {len(examples)} worked examples of "
                    f"category '{category}', {SHOTS} are needed; give the validation split as fewshot_data"
                )
            found[category] = [{"role": "system", "content": DESCRIPTION.format(category=category)}]
            for row in examples:
                found[category].append({"role": "user", "content": _question(row)})
                worked = row["cot_content"].replace(STEP_BY_STEP, "")
                found[category].append({"role": "assistant", "content": worked})
        return found

    def grade(self, item: Item, completion: Completion) -> Grade:
        """The chosen letter against the key, next to lm-eval's first match."""
        letter = stated_letter(completion.text, item, ended=completion.finish != "length")
        first = LM_EVAL_ANSWER.search(completion.text)
        theirs = first is not None and first[1] == item.reference
        metrics = {"exact_match": float(letter == item.reference), "lm_eval_exact_match": float(theirs)}
        score = metrics[self.metric]
        return Grade(score, "answered" if letter or score > 0 else "no_answer", letter, metrics)

    def chance(self, items: Sequence[Item]) -> float:
        """One in the number of options, averaged over the items."""
        return sum(1 / len(item.metadata["letters"]) for item in items) / len(items)


def stated_letter(text: str, item: Item, ended: bool) -> str | None:
    """The letter that a text states for the question that was asked.

    A line that starts with "Question:" opens a new part. The first part counts, and where it states nothing the parts
    that repeat the question asked: what a model answers to questions of its own is no answer.
    """
    heads = list(_NEXT_QUESTION.finditer(text))
    ends = [*(head.start() for head in heads), len(text)]
    parts = [text[: ends[0]], *(text[h.end() : end].lstrip() for h, end in zip(heads, ends[1:], strict=True))]
    asked = question_of(item).rpartition("Question:")[2].strip() if heads else ""
    options = partial(options_of, item)
    for number, part in enumerate(parts):
        if number == 0 or (part and asked.startswith(part.partition("\n")[0][:40].rstrip())):
            letter = final_letter(part, item.metadata["letters"], ended or number < len(heads), options)
            if letter:
                return letter
    return None


def _letters(row: Row) -> str:
    letters = LETTERS[: len(row["options"])]
    if len(row["options"]) > len(LETTERS) or row["answer"] not in tuple(letters):
        raise DataError(
            f"MMLU-Pro question {row['question_id']}: {len(row['options'])} options and the answer "
            f"'{row['answer']}' do not go together; check the data file"
        )
    return letters


def _option_lines(options: list[str]) -> str:
    return "".join(f"{letter}. {option}\n" for letter, option in zip(LETTERS, options, strict=False))


def _question(row: Row) -> str:
    options = _option_lines([option.strip() for option in row["options"]])
    return f"Question:\n{row['question']}\nOptions:\n{options}Answer: Let's think step by step."


BENCHMARK = MmluPro
