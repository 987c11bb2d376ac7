"""Checkpoints of the variants, as far as they are known before anything is downloaded or loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bitparity.doctor.findings import Finding, Topic
from bitparity.doctor.host import Hub
from bitparity.doctor.vllm import VLLM, Capability, Installed
from bitparity.engines.registry import engine_of
from bitparity.errors import ModelError
from bitparity.hardware.devices import VisibleDevice
from bitparity.models.checkpoint import chat_template, check_weights, context_length, weight_bytes
from bitparity.models.config import Config, read_config
from bitparity.models.quantization import Quantization, declared_quantization, stored_precision
from bitparity.schema import EngineSpec, Study, Variant

T = TypeVar("T")
_ALLOWS = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The files of a variant. Its methods give None where there is no folder, or what they read is broken.

    `folder` has at least its config.json (None: not to be had). `weights` is their size in bytes, `missing` how much
    of it must still be downloaded; None is not known. `problem` says what is wrong with a folder on this host.
    """

    folder: Path | None
    weights: int | None
    missing: int | None
    problem: str | None = None

    @property
    def whole(self) -> bool:
        """Nothing of it is missing or broken."""
        return self.missing == 0 and self.problem is None

    def config(self) -> Config:
        """Its config.json; empty where there is none."""
        return self.read(read_config) or Config({})

    def language_model(self) -> Config:
        """The configuration of its language model; empty where there is none."""
        return self.config().language_model()

    def context(self) -> int | None:
        """The model's own limit in tokens."""
        return self.read(context_length)

    def quantization(self) -> Quantization | None:
        """The quantization that the checkpoint declares; None also where it declares none."""
        return self.read(declared_quantization)

    def template(self) -> str | None:
        """The chat template."""
        return self.read(chat_template)

    def read(self, read: Callable[[Path], T]) -> T | None:
        """The value that a function reads from its folder."""
        try:
            return None if self.folder is None else read(self.folder)
        except ModelError:
            return None

    def precisions(self, asked: str | None) -> set[str] | None:
        """The weights' precisions once they are loaded, with `asked` the study's `quantization`."""
        # in a list, so that "declares none" is told from "cannot be read"
        read = self.read(lambda folder: [declared_quantization(folder)])
        if read is None:
            return None
        if read[0] is None and asked is not None:
            older = "INT4" if "awq" in asked or "gptq" in asked else None  # declared in a file of its own
            found = VLLM.at_load.get(asked, older)
            return {found} if found else None
        return stored_precision(read[0])

    def dtype(self, spec: EngineSpec) -> str | None:
        """The number type that an engine computes in.

        vLLM turns float32 into 16 bits unless the study says otherwise (0.32, _resolve_auto_dtype).
        """
        if spec.dtype != "auto":
            return spec.dtype
        stored = self.stored_dtype()
        return "bfloat16" if engine_of(spec).runs_vllm and stored == "float32" else stored

    def stored_dtype(self) -> str | None:
        """The number type of a plain weight in the files."""
        config = self.language_model()
        return config.text("dtype") or config.text("torch_dtype")


def width_of(dtype: str | None) -> int:
    """Bytes of a plain weight, or a value of a plain cache; two where the number type is not known."""
    return 4 if dtype in ("float32", "float") else 2


Checkpoints = Mapping[str, Checkpoint]
"""The checkpoints that are loaded on this host, by variant."""


@dataclass(frozen=True, slots=True)
class Loading:
    """A variant that is to be loaded on the devices `used`.

    `needed` is the study's longest prompt and answer in tokens, `version` that of the installed vLLM and `installed`
    what it answered; None is not known.
    """

    name: str
    variant: Variant
    checkpoint: Checkpoint
    used: Sequence[VisibleDevice]
    needed: int = 0
    version: str | None = None
    installed: Installed | None = None

    @property
    def spec(self) -> EngineSpec:
        """Its engine."""
        return self.variant.engine

    @property
    def capability(self) -> Capability:
        """The compute capability of its first device."""
        return self.used[0].gpu.capability

    def precisions(self) -> set[str] | None:
        """The weights' precisions once they are loaded; None where they are not known."""
        return self.checkpoint.precisions(self.spec.quantization)

    def memory(self) -> int | None:
        """Bytes of the devices together, each holding as much as the smallest can; None where one is not known."""
        # every device holds an equal part, so the smallest one bounds them all
        sizes = [device.part.memory for device in self.used if device.part.memory is not None]
        return min(sizes) * len(sizes) if len(sizes) == len(self.used) else None


def find_checkpoint(variant: Variant, hub: Hub, online: bool) -> Checkpoint:
    """A variant's checkpoint: a local folder, one in the hub's cache, or, where it is `online`, the hub's word."""
    place = Path(variant.model)
    if place.is_absolute():
        return _local(place)
    cached = hub.cached(variant.model, "model", variant.revision)
    if cached is not None and (local := _local(cached)).whole:
        return local
    # of weights that are not here yet, the configuration and the hub's list of files tell enough
    folder = hub.small_files(variant.model, variant.revision) if online else cached
    size = hub.weight_bytes(variant.model, variant.revision) if online else None
    # of a broken index: what it belongs to is downloaded again
    have = Checkpoint(cached, None, None).read(weight_bytes) or 0
    return Checkpoint(_with_config(folder), size, None if size is None else max(0, size - have))


def _with_config(folder: Path | None) -> Path | None:
    return folder if folder is not None and (folder / "config.json").exists() else None


def _local(folder: Path) -> Checkpoint:
    try:
        for read in (context_length, declared_quantization, chat_template, check_weights):
            read(folder)
        return Checkpoint(folder, weight_bytes(folder), 0)
    except ModelError as error:
        return Checkpoint(_with_config(folder), None, 0, str(error))


def unknown_remedy(variant: Variant) -> str:
    """The remedy where a checkpoint's files do not tell."""
    if Path(variant.model).is_absolute():
        return "mend or copy again the model's folder; its own line says what is wrong with it"
    return "let this host reach the hub, or give a folder"


def check_folders(checkpoints: Checkpoints) -> Iterator[Finding]:
    """Checkpoints on this host that are broken or not whole."""
    for name, checkpoint in checkpoints.items():
        if checkpoint.problem is not None:
            yield Topic(f"model {name}").error("broken_checkpoint", problem=checkpoint.problem)


def check_remote_code(study: Study, checkpoints: Checkpoints) -> Iterator[Finding]:
    """Code that comes with a checkpoint."""
    for name, variant in study.variants.items():
        topic = Topic(f"model {name}")
        if variant.engine.trust_remote_code:
            yield topic.warning("remote_code_on")
        elif name in checkpoints and "auto_map" in checkpoints[name].config().values:
            yield topic.warning("remote_code_off")


def context_of(variant: Variant, checkpoint: Checkpoint | None, served: Mapping[str, object] | None) -> int | None:
    """The longest sequence a variant can take, in tokens; None where it is not known. `served` is a server's word."""
    own = checkpoint.context() if checkpoint is not None else None
    told = Config(served or {}).count("max_model_len")
    return min((length for length in (variant.engine.max_model_len or own, told) if length), default=None)


def check_lengths(study: Study, checkpoints: Checkpoints, environ: Mapping[str, str]) -> Iterator[Finding]:
    """A `max_model_len` above the model's own limit, with which vLLM refuses to start."""
    for name, variant in study.variants.items():
        asked = variant.engine.max_model_len
        if not engine_of(variant.engine).runs_vllm or variant.control or name not in checkpoints or asked is None:
            continue
        topic, config = Topic(f"model {name}"), checkpoints[name].language_model()
        limit = vllm_limit(config)
        if limit is None or asked <= limit:
            continue
        if environ.get(_ALLOWS, "").strip().lower() in ("1", "true"):  # as vLLM 0.32 reads it, envs.py
            yield topic.warning("length_allowed", asked=asked, limit=limit, variable=_ALLOWS)
        elif asked <= _yarn_length(config):
            yield topic.warning("length_by_yarn", asked=asked, limit=limit)
        else:
            yield topic.error("length_refused", asked=asked, limit=limit)


def vllm_limit(config: Config) -> int | None:
    """The `max_model_len` from which vLLM refuses a model, in tokens; None where its config.json names no length.

    `config` is the language model's part. As vLLM 0.32 derives it (see `vllm.toml`): the smallest length,
    times the factor of a rope scaling that is not in it yet; `model_max_length` goes before the others.
    """
    own = config.count("model_max_length")
    limit = own or min((length for key in VLLM.length_keys if (length := config.count(key))), default=None)
    if limit is not None and "gemma3" not in str(config.values.get("model_type")):
        factors = [rope.number("factor") for rope in _ropes(config) if _kind(rope) not in VLLM.scaled_ropes]
        limit = int(limit * next((factor for factor in reversed(factors) if factor is not None), 1.0))
    return limit if limit is None or own is None else max(limit, own)


def _yarn_length(config: Config) -> int:
    """The length that YaRN reaches, original length times factor, in tokens; 0 without."""
    yarn = [rope for rope in _ropes(config) if _kind(rope) == "yarn"]
    reached = [(rope.count("original_max_position_embeddings") or 0) * (rope.number("factor") or 0) for rope in yarn]
    return int(max(reached, default=0))


def _kind(rope: Config) -> object:
    return rope.values.get("rope_type", rope.values.get("type"))


def _ropes(config: Config) -> list[Config]:
    """The rope parameters, several where kinds of layers have their own; `rope_scaling` is their older name."""
    key = "rope_parameters" if config.values.get("rope_parameters") else "rope_scaling"
    found = config.part(key)
    return [] if found is None else found.parts() or [found]
