"""GPQA Diamond: 198 graduate-level multiple-choice questions (Rein et al. 2023, arXiv 2311.12022).

Data set: Idavidrein/gpqa, config gpqa_diamond, split train, gated; fields Question, Correct Answer, Incorrect Answer 1
to 3, Record ID. Its authors ask that no question be published: reports name item ids only.
Metric: chat form `exact_match` of the last clearly stated letter; lm-eval form `acc` and `acc_norm` of lm-eval 0.4.13's
task gpqa_diamond_zeroshot, by the log-likelihood of "(A)" to "(D)".
Answer pattern: "Answer: X", "answer is (X)", a boxed letter, a last line that is only a letter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from bitparity.benchmarks.contract import Facts, Info, Source
from bitparity.benchmarks.dataset import Row, RowsBenchmark, content_hash
from bitparity.benchmarks.letters import final_letter, options_of
from bitparity.benchmarks.prompts import packaged_prompt
from bitparity.records import Completion, Grade, Item, Prompt

LETTERS = "ABCD"
ORDER_SEED = 0  # part of the exam: another seed is another exam
CHOICES = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")

# openai/simple-evals at 83ed764, common.py, QUERY_TEMPLATE_MULTICHOICE
CHAT_PROMPT = packaged_prompt("gpqa_diamond_chat.txt")

# lm_eval/tasks/gpqa/zeroshot/_gpqa_zeroshot_yaml at 0.4.13
LM_EVAL_PROMPT = packaged_prompt("gpqa_diamond_lm_eval.txt")


class GpqaDiamond(RowsBenchmark):
    """GPQA Diamond."""

    source = Source(
        "Idavidrein/gpqa",
        "train",
        "633f5ee89ab8ad4522a9f850766b73f62147ffdd",
        "gpqa_diamond",
        gated=True,
        rows=198,
        task_names="gpqa",
    )
    fields: ClassVar = dict.fromkeys(("Question", *CHOICES), (str,))
    info = Info("GPQA Diamond", 198, ("chat", "lm-eval"), "exact_match", source, chance=0.25, scored_forms=("lm-eval",))

    @property
    def metric(self) -> str:
        """`acc` in the lm-eval form, which has no other letter than the likeliest."""
        return self.spec.metric or ("acc" if self.spec.form == "lm-eval" else self.info.metric)

    def items(self) -> Iterable[Item]:
        """The questions, in as many option orders as samples are drawn (one for log-likelihoods).

        `reference` holds the correct letter of each order; the high-level domain is the subgroup.
        """
        orders = self.spec.samples if self.spec.form == "chat" else 1
        for row in self.rows(item_id):
            name = item_id(row)
            permutations = [option_order(name, k) for k in range(orders)]
            prompts = tuple(self._prompt(row, order) for order in permutations)
            keys = [LETTERS[order.index(0)] for order in permutations]
            yield Item(name, prompts, keys, subgroup=row.get("High-level domain"))

    def _prompt(self, row: Row, order: tuple[int, ...]) -> Prompt:
        options = [row[CHOICES[i]] for i in order]
        if self.spec.form == "chat":
            return self.prompt_of(_filled(CHAT_PROMPT, row["Question"].strip(), [option.strip() for option in options]))
        text = _filled(LM_EVAL_PROMPT, row["Question"], [preprocessed(option) for option in options])
        space = "" if self.spec.protocol.apply_chat_template else " "
        return replace(self.prompt_of(text), continuations=tuple(f"{space}({letter})" for letter in LETTERS))

    def grade(self, item: Item, completion: Completion) -> Grade:
        """The stated letter, or the likeliest one, against the key of the order that was asked."""
        key = item.reference[completion.sample % len(item.reference)]
        if completion.logprobs is not None:
            sums = [logprob for logprob, _ in completion.logprobs]
            letter: str | None = LETTERS[sums.index(max(sums))]
            # the choices "(A)" to "(D)" are equally long, so that acc_norm is acc
            metrics = dict.fromkeys(("acc", "acc_norm"), float(letter == key))
        else:
            options = options_of(item, completion.sample)
            letter = final_letter(completion.text, LETTERS, completion.finish != "length", options)
            metrics = {"exact_match": float(letter == key)}
        return Grade(metrics[self.metric], "answered" if letter else "no_answer", letter, metrics)

    def provenance(self) -> Facts:
        """Origin of the data, and the seed of the option orders."""
        return {**self._provenance, "order_seed": ORDER_SEED}


def item_id(row: Row) -> str:
    """The record id, or a hash of the content where the rows have none."""
    return str(row.get("Record ID") or content_hash([row], GpqaDiamond.fields)[:16])


def option_order(name: str, number: int) -> tuple[int, ...]:
    """Order `number` of an item's four options, from hashes of its id: position -> index into `CHOICES`."""
    texts = [f"{ORDER_SEED}\0{name}\0{number}\0{option}" for option in range(len(CHOICES))]
    return tuple(sorted(range(len(CHOICES)), key=lambda option: hashlib.sha256(texts[option].encode()).digest()))


def preprocessed(text: str) -> str:
    """An option as lm-eval shows it: lm_eval/tasks/gpqa/zeroshot/utils.py, preprocess."""
    return text.strip().replace(" [title]", ". ").replace("  ", " ")


def _filled(template: str, question: str, options: list[str]) -> str:
    return template.format(question=question, **dict(zip(LETTERS, options, strict=True)))


BENCHMARK = GpqaDiamond
