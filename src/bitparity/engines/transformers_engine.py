"""The transformers engine: any Hugging Face causal language model on the CPU or one GPU.

The embedded default, and the reference for the faster ones. Requests are computed in the fixed batches
that `scheduling.fixed_batches` gave them, so a result does not depend on what else was left to do.
Nothing of the checkpoint's generation_config but its end tokens has any influence.
"""

from __future__ import annotations

import inspect
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bitparity.engines.checks import failed, problem, prompt_tokens, versions
from bitparity.engines.contract import Engine
from bitparity.engines.decoding import Decoder
from bitparity.engines.readings import columns_of, reading_sample, the_text
from bitparity.errors import EngineError, UserInputError
from bitparity.models.checkpoint import context_length, resolve_model, resolve_tokenizer
from bitparity.models.identity import identity_of
from bitparity.models.quantization import declared_quantization
from bitparity.models.tokenizer import ModelTokenizer
from bitparity.records import Request, Sample, request_key
from bitparity.schema import EngineSpec, Variant

if TYPE_CHECKING:
    from bitparity.engines.sampling import Row

_REFUSED = ("quantization", "kv_cache_dtype", "linear_backend", "tensor_parallel_size")
# without a meaning here, but a study's engine keys may serve variants of engine vllm too
_IGNORED = ("gpu_memory_utilization", "enforce_eager", "max_num_seqs", "max_num_batched_tokens")


class TransformersEngine(Engine):
    """See the module. Raises ModelError where the checkpoint is not whole or not what it declares."""

    fixed_batches = True
    falls_back_to_cpu = True
    reads = "vocabulary"
    takes = ("device", "attention_backend", *_REFUSED, *_IGNORED)
    libraries = ("torch", "transformers", "transformers.generation.logits_process")
    extra = "transformers"

    @classmethod
    def check(cls, spec: EngineSpec) -> None:
        """Refuse what only vLLM can do, where more is asked than one device and the checkpoint's own precision."""
        for key in _REFUSED:
            if getattr(spec, key) not in (None, 1):
                raise UserInputError(f"engine.{key} is not available in engine kind transformers; use kind vllm")

    @classmethod
    def less_at_once(cls, spec: EngineSpec, facts: Mapping[str, Any]) -> dict[str, int]:
        """Half the batch."""
        return {"batch_size": spec.batch_size // 2} if spec.batch_size > 1 else {}

    def __init__(self, variant: Variant) -> None:
        import transformers

        from bitparity.engines import transformers_loading as loading

        spec = variant.engine
        self.check(spec)
        transformers.utils.logging.disable_progress_bar()
        self._folder = resolve_model(variant)
        self._tokenizer = ModelTokenizer(resolve_tokenizer(variant), spec.trust_remote_code).tokenizer
        self._decoder = Decoder(self._tokenizer)
        self._device = loading.choose_device(spec.device)
        self._model, self._loading = loading.load_model(self._folder, spec, self._device)
        self._ends = loading.take_generation_config(self._model, self._tokenizer)
        self._max_length = spec.max_model_len or context_length(self._folder)
        self._batch_size = spec.batch_size
        self._ended = 0  # tokens of batches that have ended, and batches scored
        self._rows: list[Row] = []  # of the batch that is generated now
        self._spec = spec
        self._variant = variant
        self._beside: tuple[dict[str, Any], Any] | None = None  # the baseline that readings are compared with
        self._vocabulary = self._model.get_input_embeddings().weight.shape[0]
        self._keeps_logits = "logits_to_keep" in inspect.signature(self._model.forward).parameters
        self._quantization = loading.quantization_facts(self._model, declared_quantization(self._folder))

    def facts(self) -> dict[str, object]:
        """Versions, device, number types, quantization as loaded and probed, and the checkpoint's identity."""
        import torch
        import transformers

        from bitparity.engines.transformers_loading import device_name, linear_kernels

        return {
            "engine": "transformers",
            "version": transformers.__version__,
            "packages": versions("torch", "compressed-tensors", "tokenizers", "accelerate"),
            "device": str(self._device),
            "device_name": device_name(self._device),
            "threads": torch.get_num_threads() if self._device.type == "cpu" else None,
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "quantization": self._quantization,
            "linear_kernels": linear_kernels(self._model),
            "attention_backend": self._model.config._attn_implementation,
            "kv_cache_dtype": str(self._model.dtype).removeprefix("torch."),
            "batch_size": self._batch_size,
            "max_model_len": self._max_length,
            "end_token_ids": self._ends,
            "trust_remote_code": self._spec.trust_remote_code,
            **self._loading,
            "model": identity_of(self._variant, self._folder),
        }

    def progress(self) -> int:
        """Tokens written so far, and groups of continuations scored."""
        return self._ended + sum(len(row.ids) for row in self._rows)

    def sent(self, request: Request) -> dict[str, object] | None:
        """The values that the sampler uses; a text that is scored is not sampled."""
        if request.scored is not None:
            return None
        seed = request.seed if request.sampling.temperature > 0 else None
        own = {"n": 1, "frequency_penalty": 0.0, "seed": seed, "stop_token_ids": self._ends}
        return {**asdict(request.sampling), **own}

    async def stream(self, requests: AsyncIterator[Request]) -> AsyncIterator[Sample]:
        """Samples, batch by batch; requests without a batch are computed in the order of their arrival."""
        batch: list[Request] = []
        async for request in requests:
            if batch and self._closes(batch, request):
                for sample in self._compute(batch):
                    yield sample
                batch = []
            batch.append(request)
        for sample in self._compute(batch):
            yield sample

    def _closes(self, batch: list[Request], request: Request) -> bool:
        if request.batch is None and batch[0].batch is None:
            return len(batch) == self._batch_size
        return request.batch != batch[0].batch

    def _compute(self, batch: list[Request]) -> Iterator[Sample]:
        import torch

        fitting = []
        for request in batch:
            after = -1 if request.reading is None else 0  # a reading takes the answer whole, as any other program would
            why = problem(request, self._max_length, self._vocabulary, after_scored=after)
            if why is None:
                fitting.append(request)
            else:
                yield failed(request, why)
        try:
            with torch.inference_mode():
                done = self._generate([r for r in fitting if r.scored is None])
                done += self._score([r for r in fitting if r.scored is not None and r.reading is None])
                done += self._read([r for r in fitting if r.reading is not None])
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
                raise
            longest = max(map(prompt_tokens, fitting))
            raise EngineError(
                f"out of memory in a batch of {len(fitting)} requests of up to {longest} prompt tokens "
                f"on {self._device}: lower engine.batch_size (now {self._batch_size})"
            ) from error
        yield from done

    def _generate(self, requests: Sequence[Request]) -> list[Sample]:
        if not requests:
            return []
        import torch
        import transformers

        from bitparity.engines.sampling import Row, RowSampler, RowStops

        started = time.perf_counter()
        ends = frozenset(self._ends)
        self._rows = rows = [Row(request, ends, self._decoder) for request in requests]
        prompts = [torch.tensor(r.token_ids, dtype=torch.long) for r in requests]
        ids, mask = (
            torch.nn.utils.rnn.pad_sequence(each, batch_first=True, padding_side="left").to(self._device)
            for each in (prompts, list(map(torch.ones_like, prompts)))
        )
        self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=transformers.GenerationConfig(
                max_new_tokens=max(r.sampling.max_tokens for r in requests),
                do_sample=False,  # RowSampler leaves one token for argmax to take
                pad_token_id=self._ends[0] if self._ends else 0,
            ),
            logits_processor=transformers.LogitsProcessorList([RowSampler(rows, self._device)]),
            stopping_criteria=transformers.StoppingCriteriaList([RowStops(rows, ids.shape[1])]),
        )
        self._ended, self._rows = self.progress(), []
        return [
            Sample(*request_key(r), *row.result(), len(row.ids), prompt_tokens(r), row.ended - started)
            for row, r in zip(rows, requests, strict=True)
        ]

    def _score(self, requests: Sequence[Request]) -> list[Sample]:
        """Log-likelihoods; choices that differ in their last token only share a row."""
        started = time.perf_counter()
        pairs = [pair for r in requests for pair in r.scored or ()]
        members: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, (context, continuation) in enumerate(pairs):
            # the last token is only predicted, so pairs that differ in it alone are one row
            members[(context + continuation)[:-1]].append(number)
        inputs = list(members)
        results: dict[int, tuple[float, bool]] = {}
        for first in range(0, len(inputs), self._batch_size):
            chunk = inputs[first : first + self._batch_size]
            results |= self._score_rows(chunk, [[(n, pairs[n][1]) for n in members[row]] for row in chunk])
            self._ended += 1
        seconds = time.perf_counter() - started
        in_order = (results[number] for number in range(len(pairs)))
        samples = []
        for r in requests:
            found = tuple(itertools.islice(in_order, len(r.scored or ())))
            samples.append(Sample(*request_key(r), "", "stop", 0, prompt_tokens(r), seconds, logprobs=found))
        return samples

    def _score_rows(
        self, rows: Sequence[tuple[int, ...]], wanted: Sequence[list[tuple[int, tuple[int, ...]]]]
    ) -> dict[int, tuple[float, bool]]:
        """The log-likelihood, and whether each token was the likeliest, of each (number, continuation) at a row's end.

        Padding on the right without a mask, as lm-eval's HFLM does: causal attention never sees it.
        """
        import torch

        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
        spans = [max(len(c) for _, c in group) for group in wanted]
        needed = sorted({p for row, n in zip(rows, spans, strict=True) for p in range(len(row) - n, len(row))})
        place = {position: at for at, position in enumerate(needed)}
        logits = self._logits(ids.to(self._device), needed)
        results = {}
        for at, group in enumerate(wanted):
            for number, continuation in group:
                positions = range(len(rows[at]) - len(continuation), len(rows[at]))
                target = torch.tensor(continuation, device=logits.device)
                own = logits[at, [place[p] for p in positions]]
                scores = torch.log_softmax(own, dim=-1, dtype=torch.float32)
                chosen = scores.gather(1, target[:, None])
                results[number] = float(chosen.sum()), bool((scores.argmax(dim=-1) == target).all())
        return results

    def _logits(self, ids: Any, positions: list[int], model: Any = None) -> Any:
        """Logits at the given positions only: all of them would be tokens x vocabulary numbers."""
        import torch

        model = self._model if model is None else model
        keep = torch.tensor(positions, device=self._device)
        if self._keeps_logits:
            return model(input_ids=ids, use_cache=False, logits_to_keep=keep).logits
        return model(input_ids=ids, use_cache=False).logits[:, keep]

    def _read(self, requests: Sequence[Request]) -> list[Sample]:
        """Numbers by token of answers; those of one batch share a forward pass, padded on the right as in scoring."""
        if not requests:
            return []
        import torch

        from bitparity.engines.token_numbers import column_numbers, token_numbers

        started = time.perf_counter()
        pairs = [the_text(request) for request in requests]
        rows = [torch.tensor(context + answer) for context, answer in pairs]
        spans = [range(len(context) - 1, len(row) - 1) for (context, _), row in zip(pairs, rows, strict=True)]
        first, last = min(span.start for span in spans), max(span.stop for span in spans)
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self._device)
        logits = self._logits(padded, list(range(first, last)))
        samples = []
        for at, (request, (_, answer), span) in enumerate(zip(requests, pairs, spans, strict=True)):
            own = logits[at, span.start - first : span.stop - first]
            if (asked := columns_of(request)) is not None:
                arrays = column_numbers(own, asked, answer)
            else:
                base = self._base_logits(request, rows[at], span)
                arrays = token_numbers(own, base, answer, request.reading.top if request.reading else 1)
            samples.append(reading_sample(request, arrays, time.perf_counter() - started))
            self._ended += 1
        return samples

    def _base_logits(self, request: Request, row: Any, span: range) -> Any:
        """The baseline's logits, from an answer read alone; None where no comparison is asked for."""
        if request.reading is None or (beside := request.reading.beside) is None:
            return None
        if self._beside is None or self._beside[0] != beside:
            from bitparity.engines.transformers_loading import load_model

            baseline = Variant.model_validate(beside)
            folder = resolve_model(baseline)
            loaded = folder == self._folder and baseline.engine == self._spec  # one model in memory is enough
            self._beside = beside, self._model if loaded else load_model(folder, baseline.engine, self._device)[0]
        return self._logits(row[None].to(self._device), list(span), self._beside[1])[0]

    def close(self) -> None:
        """Drop the models."""
        del self._model, self._beside


ENGINE = TransformersEngine
