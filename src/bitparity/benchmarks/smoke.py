"""smoke: small sums, string tasks and multiple choice, generated here; no download, every kind of request.

Data: none; items are drawn from fixed string seeds, so they are the same everywhere. Not a measure of anything but
a small model's precision: the tasks are graded in difficulty so that a 135M model is neither perfect nor lost.
Metric: `exact_match`.
Answer pattern: the assistant's message is begun for the model (`7 + 5 =`, `The first word is "`). A sum is the
number stated first; a string ends at its closing quote; a choice is the option of highest log-likelihood,
not normalised by length.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import string
from collections.abc import Callable, Iterator
from dataclasses import asdict
from decimal import Decimal
from typing import NamedTuple

from bitparity.benchmarks.contract import Benchmark, Facts, Info
from bitparity.inputs.packaged import packaged_toml
from bitparity.records import Completion, Grade, Item, Prompt

VERSION = "1"  # part of every seed: raise it when items change

CATEGORIES: dict[str, list[str]] = packaged_toml(__package__, "smoke.toml")
WORDS = CATEGORIES.pop("any")

NUMBER = r"(?<![\w.,])-?[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?(?!\w|[.,][0-9])"


class Question(NamedTuple):
    """A question: its text, the beginning of the answer, the right answer (for a choice: its place in `options`)."""

    user: str
    start: str
    answer: str | int
    options: tuple[str, ...] = ()


class Task(NamedTuple):
    """One kind of question: its subgroup, how many items, and how one is drawn."""

    subgroup: str
    items: int
    draw: Callable[[random.Random], Question]


def _sum(low: int, high: int, step: int = 1) -> Callable[[random.Random], Question]:
    """Draws a sum of two multiples of `step`, each `low` to `high` times it."""

    def draw(rng: random.Random) -> Question:
        a, b = step * rng.randint(low, high), step * rng.randint(low, high)
        return Question(f"What is {a} + {b}?", f"{a} + {b} =", str(a + b))

    return draw


def _copy_number(rng: random.Random) -> Question:
    number = rng.randint(100_000, 999_999)
    return Question(f"Repeat the number {number}.", 'The number is "', str(number))


def _copy_letters(rng: random.Random) -> Question:
    letters = "".join(rng.choice(string.ascii_lowercase) for _ in range(5))
    return Question(f"Repeat these letters: {letters}", 'The letters are "', letters)


def _first_letter(rng: random.Random) -> Question:
    word = rng.choice(WORDS)
    return Question(f'What is the first letter of the word "{word}"?', f'The first letter of "{word}" is "', word[0])


def _upper_case(rng: random.Random) -> Question:
    word = rng.choice(WORDS)
    start = f'The word "{word}" in capital letters is "'
    return Question(f'Write the word "{word}" in capital letters.', start, word.upper())


def _first_word(rng: random.Random) -> Question:
    words = rng.sample(WORDS, 4)
    return Question(f"What is the first word in this list: {', '.join(words)}?", 'The first word is "', words[0])


def _category(rng: random.Random) -> Question:
    names = rng.sample(list(CATEGORIES), 4)
    words = [rng.choice(CATEGORIES[name]) for name in names]
    right = rng.randrange(4)
    options = tuple(f" {word}" for word in words)
    return Question(f"Which of these is {names[right]}: {', '.join(words)}?", "It is the", right, options)


TASKS = {
    "digits": Task("sum", 44, _sum(1, 9)),
    "tens": Task("sum", 16, _sum(1, 9, step=10)),
    "two-digits": Task("sum", 12, _sum(10, 49)),
    "copy-number": Task("string", 10, _copy_number),
    "copy-letters": Task("string", 16, _copy_letters),
    "first-letter": Task("string", 16, _first_letter),
    "first-word": Task("string", 14, _first_word),
    "upper-case": Task("string", 8, _upper_case),
    "category": Task("choice", 40, _category),
}
_ITEMS = sum(task.items for task in TASKS.values())


class Smoke(Benchmark):
    """The smoke test."""

    info = Info(
        title="smoke: sums, strings, choices",
        items=_ITEMS,
        forms=("chat",),
        metric="exact_match",
        source=None,
        chance=sum(task.items for task in TASKS.values() if task.subgroup == "choice") / 4 / _ITEMS,
    )

    def items(self) -> Iterator[Item]:
        """All items; no question twice."""
        for name, task in TASKS.items():
            rng = random.Random(f"bitparity/smoke/{VERSION}/{name}")
            questions: dict[str, Question] = {}
            while len(questions) < task.items:
                question = task.draw(rng)
                questions.setdefault(question.user, question)
            for number, (user, question) in enumerate(questions.items()):
                messages = ({"role": "user", "content": user}, {"role": "assistant", "content": question.start})
                prompt = Prompt(messages=messages, continuations=question.options)
                about = {"task": name}
                yield Item(f"{name}-{number:03d}", (prompt,), question.answer, None, task.subgroup, about)

    def grade(self, item: Item, completion: Completion) -> Grade:
        """Right or wrong by the rule of the item's subgroup; no_answer where there is nothing to judge."""
        text, cut = completion.text, completion.finish == "length"
        if item.subgroup == "choice":
            if completion.logprobs is None:
                raise ValueError("a choice needs the log-likelihood of every option")
            logprobs = [logprob for logprob, _ in completion.logprobs]
            chosen = logprobs.index(max(logprobs))
            found: str | None = item.prompts[0].continuations[chosen].strip()
            right = chosen == item.reference
        else:
            found = stated_number(text, cut) if item.subgroup == "sum" else stated_string(text, cut)
            right = found is not None and _same(item, found)
        score = float(right)
        return Grade(score, "no_answer" if found is None else "answered", found, {"exact_match": score})

    def task_settings(self) -> Facts:
        """An answer ends with its line or at the quote that closes it."""
        return {"stop": ["\n", '"']}

    def provenance(self) -> Facts:
        """The generator's version and the hash of what it made: ids, prompts, references, groups and metadata."""
        # none of the items builds on another
        made = ({k: v for k, v in asdict(item).items() if k != "after"} for item in self.items())
        rows = "\n".join(json.dumps(item, sort_keys=True) for item in made)
        return {"generator": VERSION, "sha256": hashlib.sha256(rows.encode()).hexdigest()}


def _same(item: Item, found: str) -> bool:
    if item.subgroup == "sum":
        return Decimal(found) == int(item.reference)
    exact = item.metadata["task"] == "upper-case"
    return bool(found == item.reference if exact else found.casefold() == item.reference.casefold())


def stated_number(text: str, cut: bool = False) -> str | None:
    """The number that a text gives as its answer, without thousands commas.

    The one that it begins with ("12", "12, which is ..."), unless that belongs to a restated problem; then, as in
    "The answer is 12" and "7 + 5 = 12.", the last one of the first statement. None without one, or where the text
    was `cut` before the number or the statement had ended.
    """
    direct = re.match(rf"\s*({NUMBER})(?!\s*(?:[-+*/=×x]|and\b|plus\b))", text)
    if direct:
        return None if cut and direct.end() == len(text) else direct.group(1).replace(",", "")
    statement = re.match(r"\s*(?:[^.!?\n]|\.(?=\d))*", text)
    body = statement[0] if statement else ""
    numbers = re.findall(NUMBER, body)
    return None if not numbers or (cut and body == text) else numbers[-1].replace(",", "")


def stated_string(text: str, cut: bool = False) -> str | None:
    """The text before the closing quote or the line's end, without punctuation around it.

    None where that is nothing, or where the text was `cut` before either.
    """
    ended = re.search(r'["\n]', text)
    found = text[: ended.start() if ended else None].strip().strip(".,:;!?'`").strip()
    return None if not found or (cut and not ended) else found


BENCHMARK = Smoke
