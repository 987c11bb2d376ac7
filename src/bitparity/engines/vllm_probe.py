"""Probe in vLLM's own worker process: reads off the loaded model what vLLM has chosen.

vLLM mixes this class into its worker (`worker_extension_cls`); `collective_rpc` calls the method. No
function travels between the processes, so insecure serialization stays off.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any
from unittest.mock import patch

from bitparity.models.quantization import quantizes_activations

SLICE_BYTES = 1 << 27  # of a slice's logits in float32; log-probabilities take as much again
_KERNEL_ATTRIBUTES = ("kernel", "fp8_linear", "linear_kernel", "moe_kernel")


class ModelProbe:
    """Mixed into vLLM's worker."""

    def bitparity_probe(self) -> dict[str, object]:
        """Layers by kind, method and kernel, attention backends, KV-cache type, compilation, device."""
        worker: Any = self
        model = worker.get_model()
        attention = Counter(
            str(module.attn_backend.get_name())
            for module in model.modules()
            if hasattr(module, "attn_backend") and hasattr(module.attn_backend, "get_name")
        )
        layers = layer_facts(model.named_modules(remove_duplicate=False))
        return {
            **layers,
            "scales_requantized": _scales_requantized(str(layers["layer_kernels"])),
            "attention_backend": dict(sorted(attention.items())),
            "kv_cache_dtype": _cache_type(worker),
            "compilation": _compilation(worker.vllm_config.compilation_config),
            "model_runner": f"{type(worker.model_runner).__module__}.{type(worker.model_runner).__qualname__}",
            **_device(next(model.parameters()).device),
        }

    def bitparity_bound_prompt_logits(self) -> None:
        """Have log-probabilities of prompts computed a slice at a time, where this vLLM computes them all at once.

        A prompt's logits are tokens x vocabulary numbers, for which vLLM keeps no memory free. Its newer model runner
        has slices of its own, of a fixed number of tokens.
        """
        worker: Any = self
        runner = worker.model_runner
        rows = max(1, SLICE_BYTES // (4 * worker.model_config.get_vocab_size()))
        if (whole := getattr(runner, "_get_prompt_logprobs_dict", None)) is not None:
            runner._get_prompt_logprobs_dict = in_slices(runner, whole, rows)
        newer: Any = sys.modules.get("vllm.v1.worker.gpu.sample.prompt_logprob")
        if newer is not None and hasattr(newer, "CHUNK_SIZE"):
            newer.CHUNK_SIZE = min(newer.CHUNK_SIZE, rows)

    def bitparity_make_columns(self) -> None:
        """Have columns of asked tokens told with a prompt's log-probabilities; nothing is done where that has no place.

        See `vllm_columns`.
        """
        from bitparity.engines import vllm_columns

        worker: Any = self
        vllm_columns.install(worker.model_runner)


class _Deferred:
    """Hidden states in the place of the logits that are computed of them later."""

    def __init__(self, states: Any) -> None:
        self.states = states


def in_slices(runner: Any, whole: Callable[..., Any], step: int) -> Callable[..., Any]:
    """`whole`, a model runner's log-probabilities of prompts, with the logits of `step` tokens at a time.

    While it runs, the model's logits and the sampler's log-probabilities wait until the sampler is to gather some of
    them; then all three are done slice by slice, each by vLLM's own functions.
    """

    def sliced(*arguments: Any, **named: Any) -> Any:
        model, sampler = runner.model, runner.sampler
        logits, scores, gather = model.compute_logits, sampler.compute_logprobs, sampler.gather_logprobs

        def gathered(deferred: _Deferred, count: int, targets: Any) -> Any:
            import torch

            states = deferred.states
            parts = [
                gather(scores(logits(states[at : at + step])), count, targets[at : at + step])
                for at in range(0, len(states), step)
            ]
            return (*(torch.cat([part[field] for part in parts]) for field in range(3)), *parts[0][3:])

        with (
            patch.object(model, "compute_logits", _Deferred),
            patch.object(sampler, "compute_logprobs", lambda deferred: deferred),
            patch.object(sampler, "gather_logprobs", gathered),
        ):
            return whole(*arguments, **named)

    return sliced


def layer_facts(modules: Iterable[tuple[str, Any]]) -> dict[str, object]:
    """The methods and kernels that compute a model's layers, from (name, module) pairs.

    `linear_kernels`: linear layers by method and kernel. `layer_kernels`: the same by kind of layer (qkv_proj,
    down_proj, lm_head, experts). `activations_quantized`: whether the kernels of the quantized layers multiply with
    quantized activations; None where that is not known, or not the same in all of them.
    """
    linear: Counter[str] = Counter()
    kinds: defaultdict[str, Counter[str]] = defaultdict(Counter)
    seen: set[tuple[str, int]] = set()
    for name, module in modules:
        kind = name.rpartition(".")[2]
        # a module may have two names, as a tied head has, but no layer counts twice
        if (kind, id(module)) in seen or not _computes(kind, module):
            continue
        seen.add((kind, id(module)))
        said = describe_layer(module)
        kinds[kind][said] += 1
        if kind != "lm_head" and hasattr(module, "input_size_per_partition"):
            linear[said] += 1
    return {
        "linear_kernels": dict(sorted(linear.items())),
        "layer_kernels": {kind: dict(sorted(kinds[kind].items())) for kind in sorted(kinds)},
        "activations_quantized": _all_alike({said for found in kinds.values() for said in found}),
    }


def _scales_requantized(kernels: str) -> bool:
    """True where DeepGEMM has rounded the checkpoint's block scales to powers of two (E8M0).

    vLLM 0.25 to 0.33: deepgemm_post_process_fp8_weight_block in fp8_utils.py, on Hopper and Blackwell.
    """
    if "deepgemm" not in kernels.lower():
        return False
    from vllm.utils.deep_gemm import is_deep_gemm_e8m0_used

    return bool(is_deep_gemm_e8m0_used())


def _computes(kind: str, module: Any) -> bool:
    """True for a module that is a matrix product with weights: a linear layer, experts, or the head (perhaps tied)."""
    if getattr(module, "quant_method", None) is None or hasattr(module, "attn_backend"):
        return False
    if hasattr(module, "num_embeddings"):  # of the vocabulary: a product only as the head
        return kind == "lm_head"
    return hasattr(module, "input_size_per_partition") or kind == "experts" or "MoE" in type(module).__name__


def describe_layer(module: Any) -> str:
    """Method or scheme, and kernel of a layer, like "CompressedTensorsW4A4Fp4 / MarlinNvFp4LinearKernel"."""
    scheme = getattr(module, "scheme", None)
    first = type(module.quant_method if scheme is None else scheme).__name__
    for holder in (scheme, module.quant_method):
        for name in _KERNEL_ATTRIBUTES:
            if (kernel := getattr(holder, name, None)) is not None:
                inner = getattr(kernel, "fused_experts", None)
                return f"{first} / {type(kernel if inner is None else inner).__name__}"
    return first


def _all_alike(described: Iterable[str]) -> bool | None:
    """The answer for the quantized layers together; without any nothing is quantized."""
    answers = {quantizes_activations(said) for said in described if not said.startswith("Unquantized")}
    return False if not answers else answers.pop() if len(answers) == 1 else None


def _cache_type(worker: Any) -> str:
    """The KV cache's type as allocated; "auto" means the model's."""
    asked = str(worker.cache_config.cache_dtype)
    own = getattr(worker.model_runner, "kv_cache_dtype", None) or worker.model_config.dtype
    return (str(own) if asked == "auto" else asked).removeprefix("torch.")


def _compilation(config: Any) -> dict[str, str]:
    """torch.compile's and CUDA graphs' modes as this worker runs them."""
    values = {name: getattr(config, name, None) for name in ("mode", "cudagraph_mode")}
    return {name: str(getattr(value, "name", value)) for name, value in values.items()}


def _device(device: Any) -> dict[str, object]:
    import torch

    if device.type != "cuda":
        return {"device": str(device), "device_name": None}
    properties = torch.cuda.get_device_properties(device)
    return {
        "device": str(device),
        "device_name": properties.name,
        "device_uuid": str(getattr(properties, "uuid", "")) or None,
        "device_memory": int(properties.total_memory),
        "compute_capability": f"{properties.major}.{properties.minor}",
    }
