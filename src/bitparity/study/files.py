"""Study files and profiles as they are written in YAML, before any default is filled in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable
from importlib import resources
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from bitparity.errors import StudyError
from bitparity.plugins import nearest
from bitparity.schema import (
    NAME_PATTERN,
    DistanceSpec,
    EngineOverrides,
    Form,
    Positive,
    ReasoningSpec,
    RecoveryMargin,
    Reference,
    Repeats,
    Strict,
)
from bitparity.store.jsonl import file_stem

# told apart by their form: of a plain union pydantic would name the problems of both
Margin = Annotated[
    Annotated[float, Field(gt=0, le=100), Tag("points")] | Annotated[RecoveryMargin, Tag("proportion")],
    Discriminator(lambda given: "proportion" if isinstance(given, dict | RecoveryMargin) else "points"),
]


class ProtocolOverrides(Strict):
    """Protocol values that a profile or a study sets; what is absent comes from further down."""

    apply_chat_template: bool | None = None
    chat_template_args: dict[str, object] | None = None
    system: str | None = None
    reasoning: ReasoningSpec | Literal["none"] | None = None
    max_tokens: Positive | None = None
    temperature: Annotated[float, Field(ge=0, le=5)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Annotated[float, Field(ge=0, lt=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    stop: list[Annotated[str, Field(min_length=1)]] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None


class VariantFile(Strict):
    """A variant as the user writes it.

    With `control` it is the baseline once more and takes the baseline's model and engine; only a recording
    (engine kind replay) has a model of its own. On the baseline itself, `control` adds such a variant.
    """

    model: Annotated[str, Field(min_length=1)] | None = None
    revision: str | None = None
    tokenizer: str | None = None
    baseline: bool = False
    control: bool = False
    engine: EngineOverrides | None = None

    @model_validator(mode="after")
    def _has_a_model(self) -> Self:
        if self.model is None and (self.baseline or not self.control):
            raise ValueError("key 'model' is missing; give a model folder or a hub id like Qwen/Qwen3-32B")
        return self


class BenchmarkOverrides(ProtocolOverrides):
    """Values of a benchmark that a profile or a study sets."""

    form: Form | None = None
    samples: Repeats | None = None
    margin: Margin | None = None
    limit: Positive | None = None
    metric: str | None = None
    settings: dict[str, object] | None = None
    stop_early: bool | None = None


class BenchmarkFile(BenchmarkOverrides):
    """A benchmark as the user writes it: any protocol value may be overridden in place."""

    name: Annotated[str, Field(min_length=1)]
    data: str | None = None
    fewshot_data: str | None = None


class StudyFile(Strict):
    """The study file as the user writes it."""

    study: Annotated[str, AfterValidator(lambda name: checked_name(name, "study"))]
    variants: dict[str, VariantFile]
    engine: EngineOverrides = EngineOverrides()
    profile: str = "default"
    protocol: ProtocolOverrides = ProtocolOverrides()
    benchmarks: list[BenchmarkFile]
    reference: Reference = "both"
    distance: DistanceSpec | bool | None = None
    stop_early: bool = False

    @field_validator("benchmarks", mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        if isinstance(value, list):
            return [{"name": entry} if isinstance(entry, str) else entry for entry in value]
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.variants:
            raise ValueError("'variants' is empty; give a baseline and at least one candidate")
        for name in self.variants:
            checked_name(name, "variant")
            # on some file systems they would be one folder
            if other := next((n for n in self.variants if n != name and n.casefold() == name.casefold()), None):
                raise ValueError(f"variants '{name}' and '{other}' differ only in case")
        baselines = [name for name, v in self.variants.items() if v.baseline]
        if len(self.variants) > 1 and not baselines:
            raise ValueError("no variant is the baseline; add 'baseline: true' to the one to compare with")
        if len(baselines) > 1:
            raise ValueError(f"{len(baselines)} baselines ({', '.join(baselines)}); exactly one is needed")
        self._check_control()
        if not self.benchmarks:
            raise ValueError("'benchmarks' is empty; name at least one (see: bitparity benchmarks)")
        name, count = Counter(bench.name for bench in self.benchmarks).most_common(1)[0]
        if count > 1:
            raise ValueError(f"benchmark '{name}' is listed twice; keep one entry")
        # task names differ in signs that no file name has, or in case
        files: dict[str, str] = {}
        for bench in self.benchmarks:
            other = files.setdefault(file_stem(bench.name).casefold(), bench.name)
            if other != bench.name:
                raise ValueError(f"benchmarks '{other}' and '{bench.name}' would share their files; run one alone")
        return self

    def _check_control(self) -> None:
        controls = [name for name, v in self.variants.items() if v.control]
        if len(controls) > 1:
            raise ValueError(
                f"{len(controls)} controls ({', '.join(controls)}); one second run of the baseline is enough"
            )
        if controls and not any(v.baseline for v in self.variants.values()):
            raise ValueError("a control needs a baseline to repeat; add 'baseline: true' to a variant")


def checked_name(value: str, what: str) -> str:
    """A name of a study or variant as it was given. Raises ValueError where it cannot be a file name."""
    if not NAME_PATTERN.fullmatch(value):
        raise ValueError(
            f"{what} name '{value}' cannot be a file name; use letters, digits, '.', '_' and '-', "
            "at most 64, starting with a letter or digit"
        )
    return value


MOST_VALUES = 200_000
_LONE = re.compile("[\ud800-\udfff]")  # one of the two codes of a character: no file can hold it


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML with duplicate keys refused: of two equal keys YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping of a node. Raises MarkedYAMLError for a key that is given twice."""
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node)
            if isinstance(key, str | int | float | bool):
                if key in seen:
                    raise yaml.MarkedYAMLError(problem=f"key '{key}' is given twice", problem_mark=key_node.start_mark)
                seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(text: str, origin: str) -> object:
    """Parse YAML with duplicate keys refused. Raises StudyError naming line and column."""
    try:
        document = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise StudyError(f"{origin} is not valid YAML{where}: {error.problem}") from None
    except RecursionError:
        raise StudyError(f"{origin} is nested too deep; a study has six levels at most") from None
    except (yaml.YAMLError, ValueError) as error:  # a date or a number that Python cannot hold is a ValueError
        raise StudyError(f"{origin} is not valid YAML: {' '.join(str(error).split())[:200]}") from None
    _check_values(document, origin)
    return document


def _check_values(document: object, origin: str) -> None:
    """Raise StudyError for half a character, for aliases that repeat a document into millions of values, or itself."""
    # not recursive, and bounded: an alias may lead back to what holds it
    waiting = [document]
    for _ in range(MOST_VALUES):
        if not waiting:
            return
        value = waiting.pop()
        if isinstance(value, str) and not value.isascii() and _LONE.search(value):
            raise StudyError(f"{origin} has half of a character ({value!a:.40}); write the whole character")
        waiting += [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    raise StudyError(f"{origin} holds more than {MOST_VALUES:,} values; write it without aliases (*name) to itself")


def profile_names() -> list[str]:
    """The names of the profiles that ship with bitparity."""
    folder = resources.files(__package__) / "profiles"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


class ProfileFile(Strict):
    """A profile file: protocol values for all benchmarks and for single ones."""

    description: str
    source: str
    engine: EngineOverrides = EngineOverrides()
    protocol: ProtocolOverrides = ProtocolOverrides()
    benchmark: BenchmarkOverrides = BenchmarkOverrides()
    benchmarks: dict[str, BenchmarkOverrides] = Field(default_factory=dict)


def load_profile(name: str) -> ProfileFile:
    """Read one profile. Raises StudyError where there is none of that name."""
    known = profile_names()
    if name not in known:
        raise StudyError(f"profile '{name}' does not exist{nearest(name, known)} (profiles: {', '.join(known)})")
    text = (resources.files(__package__) / "profiles" / f"{name}.yaml").read_text(encoding="utf-8")
    return ProfileFile.model_validate(read_yaml(text, f"profile {name}"))
