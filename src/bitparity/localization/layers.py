"""Both models of a pair, one decoder layer in memory at a time: any module can be given back the baseline's numbers.

Everything is computed in float32: what differs is what the checkpoint changed, and no kernel's rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn import functional

from bitparity.engines.checks import kind_and_message
from bitparity.errors import ModelError
from bitparity.localization.checkpoint_tensors import CheckpointTensors, LinearWeights, in_fp8
from bitparity.localization.document import Kernels
from bitparity.localization.number_formats import Activations
from bitparity.models.checkpoint import weight_bytes

Watch = Callable[["Located", torch.Tensor, torch.Tensor], None]  # (module, its input, its output)
Call = tuple[tuple[Any, ...], dict[str, Any]]  # what a decoder layer is called with beside the hidden states
Given = Literal["candidate", "baseline", "fp8"]  # whose numbers a module has
KEPT_BYTES = 4 << 30  # of float32 weights: smaller pairs stay in memory from pass to pass
_ROTATED = 0.2  # relative change of the embedding from which on the two models' hidden states are not the same numbers


class Located(torch.nn.Module):  # type: ignore[misc]
    """A linear module with both checkpoints' weights, in the place of the model's own."""

    base: LinearWeights  # these two are there while the part is loaded
    candidate: LinearWeights

    def __init__(self, name: str, shared: list[tuple[torch.Tensor, Activations, torch.Tensor]]) -> None:
        super().__init__()
        self.name = name
        self.shared = shared  # the last input that was rounded in this part: q, k and v have the same one
        self.given: Given = "baseline"
        self.watch: Watch | None = None

    @property
    def changed(self) -> bool:
        """True if the candidate's module computes anything else than the baseline's."""
        return self.candidate is not self.base

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The product of the checkpoint that holds now."""
        found = self.plain(values) if self.given == "baseline" else self.quantized(values)
        if self.watch is not None:
            self.watch(self, values, found)
        return found

    def plain(self, values: torch.Tensor) -> torch.Tensor:
        """The baseline's product."""
        return functional.linear(values, self.base.weight, self.base.bias)

    def quantized(self, values: torch.Tensor) -> torch.Tensor:
        """The candidate's product, or FP8's; a gradient passes the rounding of its input as if there were none."""
        held = in_fp8(self.base) if self.given == "fp8" else self.candidate
        if (activations := held.activations) is not None:
            rounded = self._rounded(values, activations)
            values = values + (rounded - values).detach() if values.requires_grad else rounded
        return functional.linear(values, held.weight, held.bias)

    def _rounded(self, values: torch.Tensor, activations: Activations) -> torch.Tensor:
        if not any(given is values and how.same_as(activations) for given, how, _ in self.shared):
            with torch.no_grad():
                self.shared[:] = [(values, activations, activations.round(values))]
        return self.shared[0][2]


@dataclass(slots=True)
class Part:
    """A part of the model, a decoder layer or what is outside of them, with both checkpoints' numbers while loaded.

    `prefix` is its name, `linears` are its linear modules by their whole names. `base` and `candidate` are all other
    parameters, by their names in the part.
    """

    module: torch.nn.Module
    prefix: str
    linears: dict[str, Located]
    base: dict[str, torch.Tensor] = field(default_factory=dict)
    candidate: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def folded(self) -> bool:
        """True if parameters outside its linear modules differ: these mean something only together with them then."""
        return any(self.candidate[name] is not values for name, values in self.base.items())

    def run(
        self,
        *args: Any,
        back: frozenset[str] | None = frozenset(),
        fp8: frozenset[str] = frozenset(),
        watch: Watch | None = None,
        **named: Any,
    ) -> Any:
        """The candidate's output, the modules in `back` given back (None: the whole part), those in `fp8` in FP8."""
        for name, located in self.linears.items():
            located.given = "baseline" if back is None or name in back else "fp8" if name in fp8 else "candidate"
            located.watch = watch
        found = torch.func.functional_call(self.module, self.base if back is None else self.candidate, args, named)
        for located in self.linears.values():
            located.shared.clear()  # else every layer kept an input in memory, and the graph behind it
        return found[0] if isinstance(found, tuple) else found


class _Stub(torch.nn.Module):  # type: ignore[misc]
    """In the place of a decoder layer: tells what it was called with, and gives the hidden states that this gives."""

    def __init__(self, layer: torch.nn.Module, called: Callable[[torch.Tensor, Call], torch.Tensor]) -> None:
        super().__init__()
        self._called = called
        for name in ("attention_type", "layer_type", "is_sliding"):  # which some models ask their layers for
            if hasattr(layer, name):
                setattr(self, name, getattr(layer, name))

    def forward(self, hidden: torch.Tensor, *args: Any, **named: Any) -> torch.Tensor:
        """The hidden states to go on with."""
        return self._called(hidden, (args, named))


class ModelPair:
    """The baseline and a candidate, on one device. Raises ModelError where they are not built alike."""

    def __init__(
        self, base: Path, candidate: Path, device: torch.device, kernels: Kernels = "checkpoint", *, code: bool = False
    ) -> None:
        self.device, self.kernels = device, kernels
        self.checkpoints = (CheckpointTensors(base, device), CheckpointTensors(candidate, device, kernels))
        model = _skeleton(base, code=code)
        decoder: Any = model.get_decoder() if hasattr(model, "get_decoder") else None
        layers = getattr(decoder, "layers", None)
        if not isinstance(layers, torch.nn.ModuleList):
            raise ModelError(f"the model in {base} has no list of decoder layers that `locate` could take one by one")
        if any("experts" in name.split(".") and values.ndim == 3 for name, values in model.named_parameters()):
            raise ModelError(f"the model in {base} is a mixture of experts, which `locate` cannot take apart yet")
        self._prefix = next(name for name, module in model.named_modules() if module is layers)
        self.layers = [_part(layer, f"{self._prefix}.{number}") for number, layer in enumerate(layers)]
        decoder.layers = torch.nn.ModuleList([_Stub(layer, self._call) for layer in layers])
        self._keeps = 4 * weight_bytes(base) < KEPT_BYTES  # both in float32 take four times a BF16 checkpoint
        self._called: list[tuple[torch.Tensor, Call]] = []
        self._substitute: torch.Tensor | None = None
        self.outside = _part(model, "")
        for part in (self.outside, *self.layers):
            part.module._apply(lambda values: values if values.is_meta else values.to(device))
        self._load(self.outside)
        self.vocabulary = int(model.get_input_embeddings().weight.shape[0])
        self._check_not_rotated()

    def _call(self, hidden: torch.Tensor, call: Call) -> torch.Tensor:
        self._called.append((hidden, call))
        return hidden if self._substitute is None else self._substitute

    @contextmanager
    def layer(self, number: int) -> Iterator[Part]:
        """A decoder layer, in memory while the block lasts."""
        part = self.layers[number]
        if not part.base:
            self._load(part)
        try:
            yield part
        finally:
            if not self._keeps:
                part.base, part.candidate = {}, {}
                for located in part.linears.values():
                    del located.base, located.candidate

    def embed(self, ids: torch.Tensor, *, base: bool) -> tuple[torch.Tensor, list[Call]]:
        """(the first layer's input, what each layer is called with beside it) for tokens of shape (rows, length)."""
        self._called, self._substitute = [], None
        self.outside.run(input_ids=ids, use_cache=False, logits_to_keep=1, back=None if base else frozenset())
        return self._called[0][0], [call for _, call in self._called]

    def logits(
        self, ids: torch.Tensor, hidden: torch.Tensor, *, back: frozenset[str] | None, watch: Watch | None = None
    ) -> torch.Tensor:
        """Logits of shape (rows, length, vocabulary), from the last layer's output."""
        self._substitute = hidden
        found = self.outside.run(input_ids=ids, use_cache=False, back=back, watch=watch)
        self._called, self._substitute = [], None  # else both would be kept in memory
        return found.logits

    def place_of(self, module: str) -> tuple[int | None, str]:
        """(number of the layer that a linear module, by its whole name, is in, its name there); None: outside."""
        if not module.startswith(f"{self._prefix}."):
            return None, module
        number, _, kind = module[len(self._prefix) + 1 :].partition(".")
        return int(number), kind

    def _load(self, part: Part) -> None:
        base, candidate = self.checkpoints
        tied = None if base.has("lm_head.weight") else part.linears.get("lm_head")
        for name, located in part.linears.items():
            if located is not tied:
                located.base, located.candidate = _same_if_equal(base.linear(name), candidate.linear(name))
        for name, _ in part.module.named_parameters():
            whole = f"{part.prefix}.{name}" if part.prefix else name
            values, own = base.read(whole).float(), candidate.read(whole).float()
            part.base[name], part.candidate[name] = values, values if torch.equal(values, own) else own
        if tied is not None:  # the output layer is the embedding again
            model: Any = part.module
            embedding = next(n for n, module in model.named_modules() if module is model.get_input_embeddings())
            both = (LinearWeights(v[f"{embedding}.weight"], None, None) for v in (part.base, part.candidate))
            tied.base, tied.candidate = _same_if_equal(*both)

    def _check_not_rotated(self) -> None:
        for name, values in self.outside.base.items():
            other, same = self.outside.candidate[name], _ROTATED * float(values.norm())
            if other is not values and values.ndim == 2 and float((other - values).norm()) > same:
                raise ModelError(
                    f"{name} differs wholly between the two checkpoints: the candidate was rotated (SpinQuant, QuaRot) "
                    "or comes from another model, so that none of its layers can be given back on its own"
                )


def _skeleton(folder: Path, *, code: bool) -> Any:
    """The model without its weights: parameters on the meta device, buffers such as rotary frequencies computed."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=code)
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=code)
    except (ValueError, OSError, ImportError, KeyError) as error:
        raise ModelError(f"the model in {folder} cannot be built: {kind_and_message(error)}") from error
    return model.eval().requires_grad_(False)


def _part(module: torch.nn.Module, prefix: str) -> Part:
    """A part that is not loaded, with a `Located` in the place of every linear module."""
    found, shared = {}, list[tuple[torch.Tensor, Activations, torch.Tensor]]()
    for name, child in list(module.named_modules()):
        if isinstance(child, torch.nn.Linear):
            whole = f"{prefix}.{name}" if prefix else name
            parent, _, own = name.rpartition(".")
            found[whole] = Located(whole, shared)
            setattr(module.get_submodule(parent), own, found[whole])
    return Part(module, prefix, found)


def _same_if_equal(base: LinearWeights, candidate: LinearWeights) -> tuple[LinearWeights, LinearWeights]:
    """Both, the candidate's being the baseline's own where nothing differs. Raises ModelError for another shape."""
    if base.weight.shape != candidate.weight.shape:
        raise ModelError(
            f"a module has shape {tuple(candidate.weight.shape)} in the candidate and {tuple(base.weight.shape)} in "
            "the baseline: these are not two precisions of one model"
        )
    one, other = base.bias, candidate.bias
    same_bias = one is other if one is None or other is None else torch.equal(one, other)
    same = candidate.activations is None and same_bias and torch.equal(base.weight, candidate.weight)
    return base, base if same else candidate
