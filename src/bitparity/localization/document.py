"""Typed model of localization.json (schema `bitparity/localization/1`). Shares are fractions of the mean KL."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bitparity.store.jsonl import read_model
from bitparity.store.run import Run

SCHEMA: Literal["bitparity/localization/1"] = "bitparity/localization/1"
FILE = "localization.json"
Kernels = Literal["checkpoint", "e8m0", "weight-only"]  # whose rounding is computed: see docs/locate.md


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(_Part):
    """A figure with its 95 % interval over items (None where one item alone tells nothing of its spread)."""

    value: float
    ci95: tuple[float, float] | None = None


class Module(_Part):
    """A linear module that differs. `error` is relative to the module's output on the baseline's input.

    `through` is the share of the KL that goes through its error, by the gradient; `regained` the share by which the KL
    falls when it alone is given back, measured for those with the largest `through`; `at_least` is that share's lower
    end over all modules together. None: not measured, or the layer's other parameters differ too.
    """

    name: str
    layer: int | None
    kind: str
    bytes_baseline: int
    bytes_candidate: int
    error: Figure
    through: Figure | None = None
    regained: Figure | None = None
    at_least: float | None = None


class Layer(_Part):
    """A decoder layer: as for a module. `folded`: parameters outside its linear modules differ too."""

    layer: int
    folded: bool
    through: Figure | None
    regained: Figure


class Rule(_Part):
    """The rule by which a module stands out: see docs/locate.md."""

    least_share: float
    error_rate: float
    modules: int
    tested: int


class Point(_Part):
    """Modules that are spared, those of the points before included, and what that regains for how many bytes."""

    modules: list[str]
    share_of_bytes: float
    extra_bytes: int
    regained: Figure


class InFp8(Point):
    """Modules held in FP8. `others` are all those that keep the candidate's format; empty in older files.

    Both are named one by one: where a group of a checkpoint has the target "Linear", vLLM 0.25.1 takes the modules
    that it joins for members of that group, whatever another group says of them.
    """

    others: list[str] = []


class Recipe(Point):
    """The modules to spare. `regained` was measured on all answers.

    Ready to be used are llm-compressor's `ignore`, with what the checkpoint left out already, and ModelOpt's
    `quant_cfg`, which switches off the quantizers of the modules. `in_fp8` are the modules that FP8 in the place of the
    candidate's format takes as many bytes for; None where that has no fewer bits, and in older files.
    """

    llm_compressor_ignore: list[str]
    modelopt_quant_cfg: dict[str, dict[str, bool]]
    in_fp8: InFp8 | None = None


class Localization(_Part):
    """The whole document. `stands_out` is empty where no module stands out."""

    schema_: Literal["bitparity/localization/1"] = Field(default=SCHEMA, alias="schema")
    study: str
    baseline: str
    candidate: str
    models: dict[str, str]
    kernels: Kernels
    answers: int
    sampled: int
    tokens: int
    divergence: Figure
    stands_out: list[str]
    rule: Rule
    best: str | None
    unexplained: Figure | None
    modules: list[Module]
    layers: list[Layer]
    curve: list[Point]
    bend: int | None
    recipe: Recipe | None
    seconds: float

    def document(self) -> dict[str, Any]:
        """The document as plain dictionaries, as it stands in the file."""
        return self.model_dump(mode="json", by_alias=True)


def folder_of(run: Run, candidate: str) -> Path:
    """The folder of a candidate's localization in a run."""
    return run.path / "localization" / candidate


def load_localizations(run: Run) -> list[Localization]:
    """The localizations of a run, in the order of the candidates' names. Raises StoreError for a broken file."""
    fault = (
        "is no localization of this bitparity (at '{where}'): it was changed, or another version wrote it; delete it "
        "and run bitparity locate again"
    )
    return [read_model(path, Localization, fault) for path in sorted((run.path / "localization").glob(f"*/{FILE}"))]
