"""The records that travel between the stages: exam items, requests, samples, grades.

Plain dataclasses without dependencies. Each stage reads only the record before it, and every record
here can be written as one JSON line and read back unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["answered", "no_answer", "cut_off", "infrastructure_error"]
Finish = Literal["stop", "length", "error"]
Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": text}


@dataclass(frozen=True, slots=True)
class Prompt:
    """The input of the model: chat messages or plain text, exactly one of the two.

    A last message of role "assistant" is a prefix that the model continues. With `continuations` the
    model writes nothing: the log-likelihood of each, given the prompt, is computed.
    """

    messages: tuple[Message, ...] | None = None
    text: str | None = None
    continuations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a benchmark.

    `prompts` has one entry, but for log-likelihood items whose choices differ in the context, and for
    items asked in several orders: sample k is then asked prompt k modulo their number.
    `group` names items that share a problem (for clustered errors), `subgroup` a category to report.
    `after` is the id of the item whose answer, of the same sample, this one's prompt is built on: the prompt
    that is asked comes from the benchmark's `follow_up`, and `prompts` holds its fixed part.
    `reference` and `metadata` hold JSON values only.
    """

    id: str
    prompts: tuple[Prompt, ...]
    reference: Any
    group: str | None = None
    subgroup: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling values of one completion. temperature 0 is greedy; top_k 0 and min_p 0 are off."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unrendered:
    """A prompt for a server that renders it by itself: chat messages or plain text, one of the two.

    `template_args` are the chat template's arguments; `reasoning_start` is the text that opens a reasoning, for a
    server that gives the reasoning apart from the answer.
    """

    messages: tuple[Message, ...] | None
    text: str | None
    template_args: dict[str, Any] = field(default_factory=dict)
    reasoning_start: str = "<think>"


@dataclass(frozen=True, slots=True)
class Reading:
    """A request for numbers by token: a model reads an answer that is there already, given as the one scored pair.

    `top` is the number of likeliest tokens told at each position. With `beside`, the resolved variant of the baseline
    as JSON, the engine loads that model too and compares the two over the whole vocabulary. `drawn` is the number of
    tokens that the model draws at each position from those outside its `top`; with `named`, what another model has told
    and drawn, it tells of those instead (`readings.named_text`). An engine that cannot tells its own `top`.
    """

    top: int
    beside: dict[str, Any] | None = None
    drawn: int = 0
    named: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One unit of work for an engine: write one completion, or score continuations.

    `token_ids` is the rendered prompt (None for an engine without a tokenizer). `scored` holds
    (context ids, continuation ids) for each continuation of each prompt, in order; where it is not
    None nothing is generated. `seed` belongs to this sample alone: the same on every variant.
    `reasoning_end` is the text that closes the reasoning: before it no stop string applies (None: the
    answer begins at once). `batch` numbers the fixed batch that the request is computed in, for engines
    whose numerics depend on their batch; None elsewhere. `unrendered` is the prompt as a server is asked it.
    With `reading` numbers by token of the scored continuation are told as well.
    """

    benchmark: str
    item: str
    sample: int
    sampling: Sampling
    seed: int
    token_ids: tuple[int, ...] | None = None
    scored: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] | None = None
    reasoning_end: str | None = None
    batch: int | None = None
    unrendered: Unrendered | None = None
    reading: Reading | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """The completion of one request. `text` is raw and never altered afterwards.

    `tokens` and `prompt_tokens` are counts, None where the engine does not tell; `seconds` is from submission to end
    inside the engine.
    `logprobs` holds (sum of log-probabilities in nats, whether each token was the most likely one) for
    each scored continuation. `error` says why there is no completion, with `finish` "error". `served_model` is the
    model that a server says it answered with, where that is not the one it was asked for. `arrays`
    answers a `reading`, as `engines/readings.py` packs them.
    """

    benchmark: str
    item: str
    sample: int
    text: str
    finish: Finish
    tokens: int | None
    prompt_tokens: int | None
    seconds: float
    logprobs: tuple[tuple[float, bool], ...] | None = None
    error: str | None = None
    served_model: str | None = None
    arrays: str | None = None


def output_tokens(samples: Iterable[Sample], before: int | None = 0) -> int | None:
    """The tokens of all completions, on top of those `before`; None where any of them was not counted."""
    for sample in samples:
        if before is None or sample.tokens is None:
            return None
        before += sample.tokens
    return before


@dataclass(frozen=True, slots=True)
class Completion:
    """A sample as a grader sees it: the answer apart from the reasoning.

    `text` is the answer part ("" where the reasoning never ended); `reasoning` is None where the
    protocol has no reasoning; `sample` is the sample's number, for items asked in several orders.
    `earlier` holds the same sample's completions of the items before this one (`Item.after`), the first one first.
    """

    text: str
    sample: int = 0
    finish: Finish = "stop"
    reasoning: str | None = None
    logprobs: tuple[tuple[float, bool], ...] | None = None
    earlier: tuple[Completion, ...] = ()


@dataclass(frozen=True, slots=True)
class Grade:
    """A verdict on one completion.

    `score` in [0, 1]; None only with status "infrastructure_error" (unscored, never wrong).
    `metrics` holds the score by every grader of the benchmark, the primary one included.
    """

    score: float | None
    status: Status
    extracted: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


SampleKey = tuple[str, int]  # (item, sample) within one benchmark
RequestKey = tuple[str, str, int]  # (benchmark, item, sample)


def request_key(record: Request | Sample) -> RequestKey:
    """The key of a request, and of the sample that answers it."""
    return record.benchmark, record.item, record.sample


class SampleKeys(MutableSet[SampleKey]):
    """A set of (item, sample), one bit each: millions of samples of some thousand items take some megabytes."""

    def __init__(self, keys: Iterable[SampleKey] = ()) -> None:
        self._bits: dict[str, int] = {}
        for key in keys:
            self.add(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and bool(self._bits.get(key[0], 0) >> key[1] & 1)

    def __iter__(self) -> Iterator[SampleKey]:
        for item, bits in self._bits.items():
            yield from ((item, k) for k in range(bits.bit_length()) if bits >> k & 1)

    def __len__(self) -> int:
        return sum(bits.bit_count() for bits in self._bits.values())

    def add(self, key: SampleKey) -> None:
        """Put a key in."""
        self._bits[key[0]] = self._bits.get(key[0], 0) | 1 << key[1]

    def discard(self, key: SampleKey) -> None:
        """Take a key out, where it is in."""
        if key in self:
            self._bits[key[0]] ^= 1 << key[1]
