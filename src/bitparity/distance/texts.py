"""Answers that every variant reads: the baseline's own, in the exam's order, as tokens after their prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bitparity.exam.frozen import Exam
from bitparity.exam.rendering import Renderer
from bitparity.exam.requests import Examinee
from bitparity.models.tokenizer import Ids
from bitparity.records import Sample, SampleKey
from bitparity.schema import BenchmarkSpec

OWN_TEXTS = "text"  # stands for a benchmark where the texts are the user's own


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the baseline: the tokens of its prompt and its own; `text` is what the tokens were made of."""

    benchmark: str
    item: str
    sample: int
    context: Ids
    ids: Ids
    text: str

    @property
    def key(self) -> SampleKey:
        """The item's id and the sample's number."""
        return self.item, self.sample

    @property
    def fingerprint(self) -> str:
        """A hash of all tokens: a reading of others is none of this answer."""
        joined = np.array([len(self.context), *self.context, *self.ids], dtype="<i8").tobytes()
        return hashlib.sha256(joined).hexdigest()[:16]


def answers_of(
    exam: Exam, spec: BenchmarkSpec, samples: Mapping[SampleKey, Sample], baseline: str, renderer: Renderer, most: int
) -> Iterator[Answer]:
    """At most `most` answers of one benchmark: the first sample of every item in the exam's order, then the second.

    Left out are answers without a text, and those whose prompt was built on earlier answers. An answer is cut where
    prompt and answer would go beyond what was written: text makes other tokens than the model's own now and then.
    """
    requests = Examinee(baseline, renderer, renderer).requests(exam, spec)
    given = 0
    for request in sorted(requests, key=lambda asked: asked.sample):
        found = samples.get((request.item, request.sample))
        if given == most:
            return
        if found is None or found.finish == "error" or found.logprobs is not None or request.token_ids is None:
            continue
        ids = tuple(renderer.tokenizer.encode(found.text, add_special_tokens=False))[: found.tokens or None]
        if ids and found.text:
            given += 1
            yield Answer(exam.benchmark, request.item, request.sample, request.token_ids, ids, found.text)


def own_texts(rows: Sequence[tuple[str, str]], renderer: Renderer, context: int | None) -> list[Answer]:
    """The user's own texts, each as (prompt, text): without a prompt its first token, or BOS, stands for one.

    Texts are cut at the model's `context`, in tokens; those of fewer than two tokens are left out.
    """
    found = []
    for number, (prompt, text) in enumerate(rows):
        before = renderer.encode(prompt).token_ids if prompt else ()
        ids = (*before, *renderer.tokenizer.encode(text, add_special_tokens=not prompt))
        start = max(1, len(before))
        ids = ids if context is None else ids[: context - 1]
        if len(ids) > start:
            found.append(Answer(OWN_TEXTS, str(number), 0, tuple(ids[:start]), tuple(ids[start:]), text))
    return found


def other_tokens(answers: Sequence[Answer], renderer: Renderer) -> str | None:
    """The first answer that this tokenizer turns into other tokens, as a reason; None where there is none."""
    for answer in answers:
        own = tuple(renderer.tokenizer.encode(answer.text, add_special_tokens=False))
        if own[: len(answer.ids)] != answer.ids and answer.benchmark != OWN_TEXTS:
            return (
                f"its tokenizer is another one: the answer to '{answer.item}' of {answer.benchmark} becomes other "
                "tokens, so the two models' next tokens cannot be compared"
            )
    return None
