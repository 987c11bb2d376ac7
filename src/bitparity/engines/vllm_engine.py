"""The vLLM engine: AsyncLLM, with continuous submission and samples as they end.

Every sampling value is passed whole and nothing is taken from a checkpoint's generation_config, so that
variants cannot silently differ. What vLLM chose (kernels, attention, cache type) is read off the loaded
model and stands in `facts`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import itertools
import multiprocessing
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bitparity.engines.checks import failed, kind_and_message, may_be_secret, problem, prompt_tokens, versions
from bitparity.engines.contract import Engine
from bitparity.engines.decoding import Decoder, cut_at_stop, end_token_ids
from bitparity.engines.readings import DRAWN, TOP_MOST, Columns, columns_of, reading_sample, split_columns, the_text
from bitparity.engines.scheduling import as_they_end, lot_size
from bitparity.engines.vllm_worker import asked_of_worker
from bitparity.engines.watchdog import how_ended
from bitparity.errors import EngineError, ModelError, UserInputError
from bitparity.hardware import nvml
from bitparity.hardware.devices import VISIBLE_DEVICES, device_facts, limits_of_slice, shown_to_vllm
from bitparity.models.checkpoint import resolve_model, resolve_tokenizer
from bitparity.models.identity import identity_of
from bitparity.models.quantization import Quantization, declared_quantization
from bitparity.models.tokenizer import ModelTokenizer
from bitparity.records import Finish, Request, Sample, request_key
from bitparity.schema import EngineSpec, Variant

_OWN = (
    *("gpu_memory_utilization", "kv_cache_dtype", "quantization", "tensor_parallel_size", "disable_custom_all_reduce"),
    *("enforce_eager", "attention_backend", "linear_backend", "max_num_seqs", "max_num_batched_tokens"),
)
_PASSED = ("dtype", "trust_remote_code", "max_model_len", *_OWN)
_SENT = (
    *("n", "max_tokens", "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty"),
    *("repetition_penalty", "seed", "stop", "stop_token_ids", "prompt_logprobs"),
)
READ_AT_ONCE = 128  # answers: enough that the device never waits, whatever the number of sequences it generates
_LATE = ("vllm.v1.worker.gpu.model_runner", "torch._inductor.compile_fx")
_INVARIANT, _INVARIANT_FROM = "VLLM_BATCH_INVARIANT", 80  # the variable, and the compute capability it needs
_LEAST_AT_ONCE = 8  # sequences; an engine that runs out of memory with so few is not helped by fewer


class VllmEngine(Engine):
    """See the module. Raises ModelError where vLLM refuses the checkpoint or the engine's settings."""

    runs_vllm = True
    reads = "likeliest"
    takes = ("device", "batch_invariant", *_OWN)
    libraries = ("vllm", "vllm.engine.arg_utils", "vllm.v1.engine.async_llm", "vllm.third_party.pynvml")
    extra = "vllm"

    @classmethod
    def variables(cls, spec: EngineSpec) -> dict[str, str]:
        """Batch invariance is chosen while vLLM is imported."""
        return {} if spec.batch_invariant is None else {_INVARIANT: str(int(spec.batch_invariant))}

    @classmethod
    def less_at_once(cls, spec: EngineSpec, facts: Mapping[str, Any]) -> dict[str, int]:
        """Half as many sequences; a guess where it never loaded, so that its own default is not known."""
        most = spec.max_num_seqs or facts.get("max_num_seqs")
        if most is None:
            return {"max_num_seqs": 64}
        return {"max_num_seqs": max(_LEAST_AT_ONCE, most // 2)} if most > _LEAST_AT_ONCE else {}

    @classmethod
    def get_ready(cls, variant: Variant) -> Callable[[], Engine]:
        """Also make vLLM's configuration and import what its engine core will need: that process is a fork of this."""
        super().get_ready(variant)
        folder, machine, config, tokenizer = _configure(variant)
        _import_for_core(config)
        return partial(cls, variant, folder, machine, config, tokenizer)

    def __init__(self, variant: Variant, folder: Path, machine: nvml.Machine, config: Any, tokenizer: Any) -> None:
        from vllm.v1.engine.async_llm import AsyncLLM

        self._folder, self._machine = folder, machine
        pool = ThreadPoolExecutor(1)
        self._identity = pool.submit(identity_of, variant, self._folder)  # hashes gigabytes, while the engine loads
        pool.shutdown(wait=False)
        self._decoder = Decoder(tokenizer)
        self._ends = _end_tokens(tokenizer, config.model_config)
        self._vocabulary = config.model_config.get_vocab_size()
        self._max_length = int(config.model_config.max_model_len)
        self._config = config
        self._numbers = itertools.count()
        self._probe: dict[str, Any] = {}
        self._places = int(config.scheduler_config.max_num_seqs)
        self._done = 0  # output tokens of the requests that ended, one for each that is only scored
        self._ended = 0  # requests that ended
        self._spec = variant.engine
        self._reading = asyncio.Semaphore(READ_AT_ONCE)
        # statistics of every token would be made for nobody, in the process that schedules
        self._engine = AsyncLLM.from_vllm_config(config, usage_context=_usage(), disable_log_stats=True)
        self._prompt = _prompt_maker()
        self._processes = multiprocessing.active_children()  # vLLM's own

    async def prepare(self) -> None:
        """Read off the loaded model what was chosen."""
        (self._probe, *_) = await self._engine.collective_rpc("bitparity_probe")
        await self._engine.collective_rpc("bitparity_bound_prompt_logits")
        await self._engine.collective_rpc("bitparity_make_columns")
        gc.collect()
        gc.freeze()  # what is loaded stays: no pause of the event loop to look through it again

    def facts(self) -> dict[str, object]:
        """Versions, device, number types, kernels and limits as loaded, and the checkpoint's identity."""
        import torch
        import vllm

        model, cache, schedule = self._config.model_config, self._config.cache_config, self._config.scheduler_config
        tokens = cache.num_gpu_blocks * cache.block_size if cache.num_gpu_blocks and cache.block_size else None
        return {
            "engine": "vllm",
            "version": vllm.__version__,
            "packages": versions("torch", "transformers", "compressed-tensors", "flashinfer-python"),
            "cuda": {"cuda": torch.version.cuda, "driver": self._machine.driver} if torch.version.cuda else None,
            "dtype": str(model.dtype).removeprefix("torch."),
            "quantization": _quantization(self._config, declared_quantization(self._folder)),
            **self._probe,
            **device_facts(self._probe.get("device_uuid"), self._spec, os.environ, self._machine),
            "kv_cache_tokens": tokens,
            "max_model_len": self._max_length,
            "max_num_seqs": schedule.max_num_seqs,
            "max_num_batched_tokens": schedule.max_num_batched_tokens,
            "tensor_parallel_size": self._config.parallel_config.tensor_parallel_size,
            "enforce_eager": bool(model.enforce_eager),
            "prefix_caching": bool(cache.enable_prefix_caching),
            "chunked_prefill": bool(schedule.enable_chunked_prefill),
            "async_scheduling": bool(schedule.async_scheduling),
            "batch_invariant": os.environ.get("VLLM_BATCH_INVARIANT", "0") == "1",
            "variables": _variables(),
            "end_token_ids": self._ends,
            "trust_remote_code": self._spec.trust_remote_code,
            "model": self._identity.result(),
        }

    def sent(self, request: Request) -> dict[str, object]:
        """The sampling values that vLLM computes with, by SamplingParams' own names and after its own changes."""
        made = sampling_params(request, self._ends) if request.scored is None else _scoring_params()
        return {name: getattr(made, name) for name in _SENT}

    async def stream(self, requests: AsyncIterator[Request]) -> AsyncIterator[Sample]:
        """Samples as they end; as many requests as run at once are under way, and new ones begin in lots."""
        try:
            async for sample in as_they_end(requests, self._answer, self._places, self._lot):
                yield sample
        except ExceptionGroup as group:
            # vLLM only says that its process is dead, not that the kernel may have killed it for its memory
            ends = [f"its process {how_ended(p.exitcode)}" for p in self._processes if p.exitcode]
            why = "; ".join([kind_and_message(group.exceptions[0]), *ends])
            raise EngineError(f"vLLM failed: {why}") from group.exceptions[0]

    def _lot(self) -> int:
        """The number of places that stay free until new requests fill them together; see `lot_size`."""
        return lot_size(self._places, self.progress() / max(1, self._ended))

    async def _answer(self, request: Request) -> Sample:
        if why := problem(request, self._max_length, self._vocabulary, after_scored=1):
            return failed(request, why)
        if request.reading is not None:
            return await self._read(request, columns_of(request), request.reading.top)
        return await (self._generate(request) if request.scored is None else self._score(request))

    async def _generate(self, request: Request) -> Sample:
        started = time.perf_counter()
        output = (await self._final(request.token_ids or (), sampling_params(request, self._ends))).outputs[0]
        seconds = time.perf_counter() - started
        whole = self._decoder.text(output.token_ids, request.reasoning_end)
        text, stopped = cut_at_stop(whole, request.sampling.stop, request.reasoning_end)
        reason = "stop" if stopped else output.finish_reason
        finish: Finish = "stop" if reason == "stop" else "length" if reason == "length" else "error"
        why = f"vLLM ended it with '{output.finish_reason}'" if finish == "error" else None
        count = len(output.token_ids)
        return Sample(*request_key(request), text, finish, count, prompt_tokens(request), seconds, error=why)

    async def _score(self, request: Request) -> Sample:
        started = time.perf_counter()
        found = await asyncio.gather(*(self._log_likelihood(*pair) for pair in request.scored or ()))
        seconds = time.perf_counter() - started
        return Sample(*request_key(request), "", "stop", 0, prompt_tokens(request), seconds, logprobs=tuple(found))

    async def _read(self, request: Request, asked: Columns | None, top: int) -> Sample:
        """Numbers by token, from arrays: vLLM makes no dictionary of each position where it is asked for flat lists.

        Columns that are asked for come in the place of likeliest tokens, of which so many are asked of vLLM.
        """
        context, answer = the_text(request)
        width = top if asked is None else asked.width
        told = None if asked is None else asked_of_worker(asked, len(context) - 1)
        async with self._reading:
            started = time.perf_counter()
            parameters = _scoring_params(width, flat_logprobs=True, extra_args=told)
            found = (await self._final(context + answer, parameters)).prompt_logprobs
            if found is None:
                raise EngineError("vLLM gave no log-probabilities of the prompt")
            ids, logprobs = flat_arrays(found, len(context), len(answer), width)
            try:
                arrays = split_columns(ids[:, 1:], logprobs[:, 1:], logprobs[:, 0], asked)
            except ValueError as error:
                return failed(request, str(error))
            return reading_sample(request, arrays, time.perf_counter() - started)

    async def _log_likelihood(self, context: tuple[int, ...], continuation: tuple[int, ...]) -> tuple[float, bool]:
        """(sum of log-probabilities, whether each token had rank 1) from the prompt's log-probabilities."""
        output = await self._final(context + continuation, _scoring_params())
        if output.prompt_logprobs is None:
            raise EngineError("vLLM gave no log-probabilities of the prompt")
        tail = output.prompt_logprobs[len(context) :]
        chosen = [entry[token] for entry, token in zip(tail, continuation, strict=True)]
        return float(sum(c.logprob for c in chosen)), all(c.rank == 1 for c in chosen)

    async def _final(self, token_ids: tuple[int, ...], parameters: Any) -> Any:
        prompt = self._prompt(list(token_ids))
        final = None
        async for output in self._engine.generate(prompt, parameters, str(next(self._numbers))):
            final = output
        if final is None:
            raise EngineError("vLLM ended a request without an answer")
        self._done += len(final.outputs[0].token_ids)
        self._ended += 1
        return final

    def progress(self) -> int:
        """Output tokens so far, of the requests that ended and of those under way; a text that is scored counts one."""
        under_way = list(self._engine.output_processor.request_states.values())
        return self._done + sum(len(state.detokenizer.output_token_ids) for state in under_way if state.detokenizer)

    def close(self) -> None:
        """End vLLM's own processes."""
        self._engine.shutdown()


def _prompt_maker() -> Callable[[list[int]], Any]:
    """Token ids to a prompt as vLLM's own renderer would make it: there is nothing left to render."""
    try:
        from vllm.inputs.engine import tokens_input
    except ImportError:  # vLLM before 0.25
        from vllm.inputs import TokensPrompt

        return lambda token_ids: TokensPrompt(prompt_token_ids=token_ids)
    return cast(Callable[[list[int]], Any], tokens_input)


def sampling_params(request: Request, ends: list[int]) -> Any:
    """A request for vLLM, every value explicit. Stop strings go along only where no reasoning can come before them."""
    stop = list(request.sampling.stop) if request.reasoning_end is None else []
    own = {
        "n": 1,
        "frequency_penalty": 0.0,
        "seed": request.seed if request.sampling.temperature > 0 else None,
        "stop": stop,
        "stop_token_ids": ends,
        "detokenize": bool(stop),  # vLLM needs its own text only to find them
        "skip_special_tokens": True,
    }
    return _params(**asdict(request.sampling) | own)


def _scoring_params(top: int = 0, **more: object) -> Any:
    # 0: log-probabilities of the prompt's own tokens, no others
    return _params(max_tokens=1, temperature=0.0, prompt_logprobs=top, detokenize=False, **more)


def flat_arrays(found: Any, context: int, answer: int, width: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """(ids, log-probabilities) of shape (answer, width + 1) from vLLM's flat ones of context and answer, in tokens.

    vLLM tells of each position the prompt's own token first and then `width` others. Raises EngineError where it told
    another number.
    """
    start, end = found.start_indices[context], found.end_indices[context + answer - 1]
    if end - start != answer * (width + 1):
        raise EngineError(f"vLLM gave {end - start} log-probabilities of {answer} tokens, not {width + 1} of each")
    ids = np.array(found.token_ids[start:end], dtype=np.int32).reshape(answer, width + 1)
    return ids, np.array(found.logprobs[start:end], dtype=np.float32).reshape(answer, width + 1)


def _params(**values: object) -> Any:
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    return SamplingParams(**values, output_kind=RequestOutputKind.FINAL_ONLY)


def _usage() -> Any:
    """vLLM's limits for work in bulk, as its class LLM has them; without a word of the use it takes 128 sequences."""
    from vllm.usage.usage_lib import UsageContext

    return UsageContext.LLM_CLASS


def _configure(variant: Variant) -> tuple[Path, nvml.Machine, Any, Any]:
    """The checkpoint's folder, the machine, vLLM's configuration and the tokenizer: all of a load that needs no device.

    Raises ModelError where vLLM refuses the checkpoint or a setting, EngineError and UserInputError.
    """
    from vllm.platforms import current_platform
    from vllm.third_party import pynvml

    folder, tokenizer_folder = resolve_model(variant), resolve_tokenizer(variant)
    # one device is shown to vLLM, "cuda:1" or the UUID of a GPU or MIG slice, before CUDA is first used
    if (shown := shown_to_vllm(variant.engine.device, cpu_build=current_platform.is_cpu())) is not None:
        os.environ[VISIBLE_DEVICES] = shown
    machine = nvml.read(pynvml)
    if variant.engine.batch_invariant:
        _check_batch_invariant()
    tokenizer = ModelTokenizer(tokenizer_folder, variant.engine.trust_remote_code).tokenizer
    return folder, machine, _engine_config(variant.engine, folder, tokenizer_folder, machine), tokenizer


def _import_for_core(config: Any) -> None:
    """Import what the engine core imports late: the module of its worker, of the runner and of the model."""
    from vllm.model_executor.model_loader.utils import get_model_cls

    for module in (config.parallel_config.worker_cls.rpartition(".")[0], *_LATE):
        # another platform, or another version of vLLM, has it not; what really fails does so again in the core
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    with contextlib.suppress(Exception):
        get_model_cls(config.model_config)


def _engine_config(spec: EngineSpec, folder: Path, tokenizer: Path, machine: nvml.Machine) -> Any:
    """vLLM's whole configuration: what the study leaves open is vLLM's own choice.

    Raises UserInputError for a setting that this vLLM has not, ModelError where it refuses the checkpoint or a value.
    """
    import vllm
    from vllm.engine.arg_utils import AsyncEngineArgs

    limits = limits_of_slice(spec, os.environ, machine)
    given = {name: getattr(spec, name) for name in _PASSED if getattr(spec, name) is not None}
    if unknown := sorted(given.keys() - AsyncEngineArgs.__dataclass_fields__.keys()):
        raise UserInputError(f"vLLM {vllm.__version__} has no setting {', '.join(unknown)}; remove it from the study")
    try:
        args = AsyncEngineArgs(
            model=str(folder),
            tokenizer=str(tokenizer),
            # nothing of the checkpoint's own file
            generation_config="vllm",
            worker_extension_cls="bitparity.engines.vllm_worker.ModelProbe",
            max_logprobs=TOP_MOST + 2 + DRAWN,
            **limits | given,
        )
        return args.create_engine_config(_usage())
    except (ValueError, OSError) as error:
        raise ModelError(f"vLLM refuses this model or its engine settings: {kind_and_message(error)}") from error


def _check_batch_invariant() -> None:
    """Refuse batch invariance where this vLLM or this device has it not; a kernel without it vLLM refuses itself."""
    import vllm
    from vllm import envs
    from vllm.platforms import current_platform

    if _INVARIANT not in envs.environment_variables:
        raise ModelError(f"vLLM {vllm.__version__} knows no batch invariance; update vLLM, or remove batch_invariant")
    if not current_platform.is_cuda():
        raise ModelError("batch_invariant needs a CUDA device: vLLM has no such kernels here; remove it")
    if not current_platform.has_device_capability(_INVARIANT_FROM):
        found = current_platform.get_device_capability()
        raise ModelError(
            f"batch_invariant needs compute capability {_INVARIANT_FROM // 10}.{_INVARIANT_FROM % 10} or newer, and "
            f"this device has {found.as_version_str() if found else 'an unknown one'}; remove it, or use another device"
        )
    if os.environ.get(_INVARIANT) != "1":
        raise EngineError(f"batch_invariant was asked for, but {_INVARIANT} did not reach the engine's process")


def _end_tokens(tokenizer: Any, model_config: Any) -> list[int]:
    """The same end tokens as the transformers engine takes."""
    from transformers import GenerationConfig

    declared = [getattr(model_config.hf_text_config, "eos_token_id", None)]
    with contextlib.suppress(OSError):  # a checkpoint without a generation_config.json
        declared.append(GenerationConfig.from_pretrained(model_config.model).eos_token_id)
    return end_token_ids(tokenizer, declared)


def _quantization(config: Any, declared: Quantization | None) -> dict[str, Any] | None:
    """The quantization that vLLM loaded, beside what the checkpoint declares."""
    method = config.model_config.quantization
    if method is None and declared is None:
        return None
    loaded = type(config.quant_config).__name__ if config.quant_config is not None else None
    return {**(declared or {}), "method": method, "loaded_as": loaded}


def _variables() -> dict[str, str | None]:
    """vLLM's environment variables that are set; some choose kernels.

    Of one that vLLM does not know, or that may be a secret, the name alone (None): who knows what is in it.
    """
    from vllm import envs

    return {
        name: value if name in envs.environment_variables and not may_be_secret(name) else None
        for name, value in sorted(os.environ.items())
        if name.startswith("VLLM_")
    }


ENGINE = VllmEngine
