"""Contract of a benchmark: what each one must offer.

A benchmark turns a data set into items and grades completions. `grade` is pure: it sees the item and
the answer part of one completion, never the reasoning, and decides nothing about cut-offs inside the
reasoning or engine failures; `bitparity.grading` does that for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from bitparity.records import Completion, Grade, Item, Prompt
from bitparity.schema import BenchmarkSpec, Form, ServerUrl, Strict, VariableName

Facts = dict[str, object]  # JSON values that are recorded with a run, by name


class Settings(Strict):
    """The settings of one benchmark, `settings:` in its entry of a study; most have none. Defaults: the profiles."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the canonical data set lives: hub id, config, split and the pinned commit; gated or not.

    `rows` is how many rows the split has there, `sha256` the hash of the content (`data.content_hash`) that this
    version was tested with, `bytes` how much there is to download at most; None where it is not known. `task_names` is
    a pattern for the names, in lower case, of lm-eval's tasks that ask the same questions.
    """

    path: str
    split: str
    revision: str
    config: str | None = None
    gated: bool = False
    rows: int | None = None
    sha256: str | None = None
    bytes: int | None = None
    task_names: str | None = None


@dataclass(frozen=True, slots=True)
class Info:
    """Facts about a benchmark that need no data: all that the rest of the program knows of it.

    items: number of items of the published data set.
    forms: the prompt styles that it has, the default one first.
    metric: the primary metric.
    chance: score of guessing, a fraction, the least one where it depends on the items; None where there is none.
    aliases: other names under which tables list it, besides its own; spelling and punctuation do not matter.
    label_words: words, parted by blanks, that may follow its name in a table and change nothing.
    question_tokens: mean tokens of a question with its options, at four characters a token.
    fewshot_factor: how many times longer the prompt of the form `lm-eval` is, with its worked examples.
    scored_forms: the forms in which options are scored by log-likelihood, so that no answer is written.
    subtasks: number of tasks of lm-eval's group of this name, each called `<name>_<subject>`.
    setup: command that sets up what its grader needs; None where it needs nothing.
    groups: (items, number of groups of so many) where items share problems.
    """

    title: str
    items: int
    forms: tuple[Form, ...]
    metric: str
    source: Source | None
    chance: float | None = 0.0
    aliases: tuple[str, ...] = ()
    label_words: str = ""
    question_tokens: int = 150
    fewshot_factor: int = 1
    scored_forms: tuple[str, ...] = ()
    subtasks: int = 1
    setup: str | None = None
    groups: tuple[tuple[int, int], ...] = ()


class Benchmark(ABC):
    """The contract. `spec` is the study's entry, `info` what the benchmark is.

    Class attribute `fixed_order`: items keep the data set's own order and `limit` is applied by the
    benchmark (lm-eval tasks); otherwise the exam shuffles by item id and limits.
    Class attribute `slow_grader`: `grade` may take seconds or hang, so it runs in processes with a timeout.
    Class attribute `runs_code`: `grade` runs a model's code in the sandbox; it is called from several threads,
    between `open_grader` and `close_grader`.
    Class attribute `lm_eval_settings`: the sampling that lm-eval's task sets, for the form `lm-eval`.
    """

    info: ClassVar[Info]
    fixed_order: ClassVar[bool] = False
    slow_grader: ClassVar[bool] = False
    runs_code: ClassVar[bool] = False
    settings_type: ClassVar[type[Settings]] = Settings
    lm_eval_settings: ClassVar[Facts] = {}

    def __init__(self, spec: BenchmarkSpec) -> None:
        self.spec = spec
        self._provenance: Facts = {}  # filled by `items`
        self.settings = self.settings_type.model_validate(spec.settings)

    @property
    def metric(self) -> str:
        """The name of the primary metric: the key in `Grade.metrics` that equals `Grade.score`."""
        return self.spec.metric or self.info.metric

    @abstractmethod
    def items(self) -> Iterable[Item]:
        """All items, ids unique. Raises DataError where the data set is missing or broken."""

    def prompt_of(self, text: str) -> Prompt:
        """The prompt of a text: a user's message, or plain text where the form has no chat template."""
        if self.spec.form == "chat" or self.spec.protocol.apply_chat_template:
            return Prompt(messages=({"role": "user", "content": text},))
        return Prompt(text=text)

    @abstractmethod
    def grade(self, item: Item, completion: Completion) -> Grade:
        """The verdict on one completion."""

    def follow_up(self, item: Item, earlier: Sequence[Completion]) -> Prompt:
        """The prompt of an item that comes after others (`Item.after`).

        `earlier` holds the same sample's completions of the items before it, the first one first. Only benchmarks
        with such items have one.
        """
        raise NotImplementedError(f"{type(self).__name__} has items that come after others and no follow_up")

    def open_grader(self, unsafe_exec: bool) -> Facts:
        """Get ready to grade; returns the facts to record, such as the sandbox's level. Raises BitparityError."""
        return {}

    def close_grader(self) -> None:
        """Free what `open_grader` made."""

    def check_tests(self, items: Sequence[Item]) -> None:
        """Raise DataError where `grade` needs files beside the items that are not there any more."""

    @property
    def judge(self) -> JudgeSettings | None:
        """The model that judges the answers beside `grade`; None where there is none."""
        return None

    def judge_prompt(self, item: Item, answer: str, sample: int) -> str:
        """The judge's question about one answer. Only benchmarks with a `judge` have one."""
        raise NotImplementedError(f"{type(self).__name__} has a judge and no judge_prompt")

    def rates(self, items: Sequence[Item], grades: Mapping[tuple[str, int], Grade]) -> dict[str, float]:
        """Figures over several items, such as the share of problems solved whole, by name; fractions."""
        return {}

    def load_grader(self) -> None:
        """Import what `grade` needs, where that takes long; a slow grader's deadlines run only after it."""

    def chance(self, items: Sequence[Item]) -> float | None:
        """The expected score of guessing on these items, a fraction; None where there is no such thing."""
        return self.info.chance

    def task_settings(self) -> Facts:
        """Sampling values that belong to the task itself (keys of `Sampling`): its stops, its budget."""
        return self.lm_eval_settings if self.spec.form == "lm-eval" else {}

    def notes(self) -> list[str]:
        """Remarks on the data that `items` read, for the readers of the results."""
        return []

    def provenance(self) -> Facts:
        """Origin of the data that `items` read: path or hub id and revision, SHA-256 of the rows' content, versions."""
        return self._provenance


class JudgeSettings(Strict):
    """`judge:` in a benchmark's settings: any OpenAI-compatible endpoint.

    `api_key_env` names the environment variable with the key, which is never stored; None sends none. `max_tokens` is
    CAIS's own; a `temperature` is sent only where one is given, as CAIS sends none.
    """

    base_url: ServerUrl
    model: Annotated[str, Field(min_length=1)]
    api_key_env: VariableName | None = None
    max_tokens: Annotated[int, Field(ge=1)] = 4096
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
