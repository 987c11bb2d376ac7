"""Extension of vLLM's own worker process: a probe of the loaded model, and columns of drawn and named tokens.

vLLM mixes `ModelProbe` into its worker (`worker_extension_cls`); `collective_rpc` calls its methods. No function
travels between the processes, so insecure serialization stays off.

A request carries the columns that it asks for in `SamplingParams.extra_args` and asks for as many likeliest tokens as
there are columns; the worker puts the columns in their place, at the positions of the answer. So nothing between worker
and engine differs from vLLM's own. Whoever reads them finds the columns by the id REST, and where a worker has put
none, as another version of vLLM may not let it, the likeliest tokens.

vLLM has two model runners (read in 0.25.1, 0.32.0 and 0.33.0). The newer one has a `prompt_logprobs_worker`, whose
logits are looked at as it computes them; the older one has `_get_prompt_logprobs_dict`, beside which the answer's
logits are computed once more.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np

from bitparity.engines.readings import Columns
from bitparity.models.quantization import quantizes_activations

if TYPE_CHECKING:
    import torch

SLICE_BYTES = 1 << 27  # of a slice's logits in float32; log-probabilities take as much again
NAME = "bitparity"  # in extra_args
AT_ONCE = 256  # positions whose logits are computed at once for columns: bounds memory at large vocabularies
_KERNEL_ATTRIBUTES = ("kernel", "fp8_linear", "linear_kernel", "moe_kernel")
_LOG = logging.getLogger(__name__)


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
        cache = str(worker.cache_config.cache_dtype)
        if cache == "auto":  # the model's
            cache = str(getattr(worker.model_runner, "kv_cache_dtype", None) or worker.model_config.dtype)
        return {
            **layers,
            "scales_requantized": _scales_requantized(str(layers["layer_kernels"])),
            "attention_backend": dict(sorted(attention.items())),
            "kv_cache_dtype": cache.removeprefix("torch."),
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
        """Have columns of asked tokens told with a prompt's log-probabilities, where the model runner can."""
        worker: Any = self
        install(worker.model_runner)


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


def asked_of_worker(columns: Columns, start: int) -> dict[str, Any]:
    """`extra_args` for these columns; `start` is the prompt's position whose logits are of the answer's first token."""
    points, named = (None if each is None else each.tobytes() for each in (columns.points, columns.named))
    (positions,) = {len(each) for each in (columns.points, columns.named) if each is not None}
    return {NAME: {"start": start, "positions": positions, "top": columns.top, "points": points, "named": named}}


class Task:
    """The columns of one request: made part by part, as vLLM computes its prompt."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.start, self.count = int(asked["start"]), int(asked["positions"])
        points, named = asked["points"], asked["named"]
        self._columns = Columns(
            int(asked["top"]),
            None if points is None else np.frombuffer(points, dtype=np.float64).reshape(self.count, -1),
            None if named is None else np.frombuffer(named, dtype=np.int32).reshape(self.count, -1),
        )
        self._parts: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._made = 0

    def within(self, first: int, count: int) -> range:
        """The positions of the answer among `count` positions of the prompt from `first` on."""
        return range(max(self.start, first), min(self.start + self.count, first + count))

    def make(self, logits: torch.Tensor, first: int) -> None:
        """Make the columns of the prompt's positions from `first` on, which follow those that are made."""
        from bitparity.engines.token_numbers import columns

        if first == self.start + self._made:
            self._parts.append(columns(self._columns, logits, first - self.start))
            self._made += len(logits)

    def put(self, found: Any) -> None:
        """Put the columns into vLLM's tensors of the whole prompt; not where they are not whole, or do not fit."""
        import torch

        if self._made == self.count and found.logprobs.shape == (self.start + self.count, 1 + self._columns.width):
            ids, logprobs = (torch.cat(each) for each in zip(*self._parts, strict=True))
            found.logprob_token_ids[self.start :, 1:].copy_(ids)
            found.logprobs[self.start :, 1:].copy_(logprobs)


class _Tasks(dict[str, Task]):
    """The requests under way that ask for columns. One that fails has none: its reader sees likeliest tokens."""

    def add(self, request: str, parameters: Any) -> None:
        """Begin a request, anew where vLLM does so."""
        self.pop(request, None)
        with self._giving_up(request):
            if (asked := (getattr(parameters, "extra_args", None) or {}).get(NAME)) is not None:
                self[request] = Task(asked)

    def make(self, request: str, logits: torch.Tensor, first: int) -> None:
        """Make columns from logits of the prompt's positions from `first` on."""
        with self._giving_up(request):
            self[request].make(logits, first)

    def end(self, request: str, found: Any = None) -> None:
        """End a request, with vLLM's tensors of its whole prompt where they are there."""
        with self._giving_up(request):
            if found is not None and request in self:
                self[request].put(found)
        self.pop(request, None)

    @contextmanager
    def _giving_up(self, request: str) -> Iterator[None]:
        try:
            yield
        except Exception:  # whatever it is, vLLM's own work goes on, with the answers of all others
            _LOG.exception("no columns for a reading")
            self.pop(request, None)


def install(runner: Any) -> None:
    """Have a model runner make columns, the newer or the older one; nothing is done to any other."""
    if (own := getattr(runner, "prompt_logprobs_worker", None)) is not None:
        newer(own)
    elif (whole := getattr(runner, "_get_prompt_logprobs_dict", None)) is not None:
        runner._get_prompt_logprobs_dict = older(runner, whole)


def newer(own: Any) -> None:
    """Have the newer runner's PromptLogprobsWorker make columns of the logits that it computes anyhow."""
    tasks = _Tasks()
    add, remove, compute = own.add_request, own.remove_request, own.compute_prompt_logprobs

    def added(request: str, number: int, parameters: Any, *more: Any, **named: Any) -> None:
        add(request, number, parameters, *more, **named)
        tasks.add(request, parameters)

    def removed(request: str, *more: Any, **named: Any) -> None:
        remove(request, *more, **named)
        tasks.end(request)

    def computed(logits_of: Callable[..., Any], states: torch.Tensor, batch: Any, *more: Any, **named: Any) -> Any:
        spans = list(_spans(tasks, batch))
        row = 0  # of the batch: they come in their order

        def seen(part: torch.Tensor, *others: Any, **otherwise: Any) -> Any:
            nonlocal row
            logits = logits_of(part, *others, **otherwise)
            first, row = row, row + len(part)
            if part.data_ptr() == states[first:].data_ptr() and logits is not None:
                for request, start, positions in spans:
                    low, high = max(start, first), min(start + len(positions), row)
                    if low < high:
                        tasks.make(request, logits[low - first : high - first], positions[low - start])
            return logits

        found = compute(seen if spans else logits_of, states, batch, *more, **named)
        for request, tensors in found.items():
            tasks.end(request, tensors)
        return found

    own.add_request, own.remove_request, own.compute_prompt_logprobs = added, removed, computed


def _spans(tasks: _Tasks, batch: Any) -> Iterator[tuple[str, int, range]]:
    """(request, row of the batch, positions of the prompt) for what a batch of the newer runner has of answers."""
    for number, request in enumerate(batch.req_ids):
        if (task := tasks.get(request)) is not None:
            first = int(batch.num_computed_prefill_tokens_np[number])
            positions = task.within(first, int(batch.num_scheduled_tokens[number]))
            if positions:
                yield request, int(batch.query_start_loc_np[number]) + positions.start - first, positions


def older(runner: Any, whole: Callable[..., Any]) -> Callable[..., Any]:
    """`whole`, the older runner's `_get_prompt_logprobs_dict`, with columns of the answers' logits, computed again."""
    tasks = _Tasks()

    def computed(states: torch.Tensor, scheduled: dict[str, int], *more: Any, **named: Any) -> Any:
        for request in [name for name in runner.num_prompt_logprobs if name in scheduled]:
            known = runner.requests[request]
            first = known.num_computed_tokens
            if first == 0 or request not in tasks:
                tasks.add(request, known.sampling_params)
            if (task := tasks.get(request)) is not None:
                offset = int(runner.query_start_loc.np[runner.input_batch.req_id_to_index[request]]) - first
                positions = task.within(first, scheduled[request])
                for at in range(positions.start, positions.stop, AT_ONCE):
                    rows = slice(offset + at, offset + min(at + AT_ONCE, positions.stop))
                    tasks.make(request, runner.model.compute_logits(states[rows]), at)
        found = whole(states, scheduled, *more, **named)
        for request, tensors in found.items():
            tasks.end(request, tensors)
        return found

    return computed
