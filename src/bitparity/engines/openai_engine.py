"""Engine for any OpenAI-compatible server: vLLM, SGLang, llama.cpp, a gateway, a vendor.

Where the study names a tokenizer and the server takes tokens, the exam's own token ids are sent and the server
renders nothing. Otherwise chat messages are sent and the server's template renders them. The weights, kernels and
number types of a server cannot be proved from outside: `facts` says so, and a guard repeats it.

Every sampling value is sent, since servers take what is left out from the checkpoint's generation_config.
"""

from __future__ import annotations

import math
import sys
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from bitparity.engines.checks import failed, kind_and_message, problem, prompt_tokens
from bitparity.engines.contract import Engine
from bitparity.engines.decoding import cut_at_stop, end_token_ids
from bitparity.engines.openai_client import Answer, Json, RequestFailedError, server_of
from bitparity.engines.readings import Arrays, reading_sample, the_text
from bitparity.engines.scheduling import as_they_end
from bitparity.errors import EngineError, ModelError, UserInputError
from bitparity.models.checkpoint import resolve_tokenizer
from bitparity.models.tokenizer import ModelTokenizer
from bitparity.records import Finish, Request, Sample, Sampling, Unrendered, request_key
from bitparity.schema import EngineSpec, Variant

CONCURRENCY = 32  # requests at once, where the study names no number
PROBE_RETRIES = 4
LOST_IN_A_ROW = 8  # requests given up one after the other, before the server counts as gone
UNPROVED = ["weights", "revision", "quantization", "kernels", "attention backend", "KV-cache type", "device"]

_PROBE = "Say yes."
_REASONING_END = "</think>"  # where the protocol has no reasoning and the server separates one nevertheless
_NO_EXTENSIONS = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}  # the values that turn them off


Endpoint = Literal["completions", "chat/completions"]
Form = Literal["token ids", "text", "messages"]


@dataclass(frozen=True, slots=True)
class Mode:
    """A form of request that the server takes. `extensions`: with sampling values beyond OpenAI's own."""

    endpoint: Endpoint
    form: Form
    extensions: bool
    usage: bool = False


class OpenAIEngine(Engine):
    """See the module. Raises UserInputError without the key, EngineError where the server does not answer."""

    has_local_weights = False
    served = True
    reads = "likeliest"
    takes = ("base_url", "api_key_env", "endpoint", "concurrency", "retries", "request_timeout")
    libraries = ("httpx",)
    extra = "openai"

    @classmethod
    def check(cls, spec: EngineSpec) -> None:
        """It needs an address, and cannot choose the number type."""
        if spec.base_url is None:
            raise UserInputError("engine openai needs the server's address: base_url: http://localhost:8000/v1")
        if spec.dtype != "auto":
            raise UserInputError("engine openai cannot set dtype: the server decides that; remove it")

    def __init__(self, variant: Variant) -> None:
        self._spec = variant.engine
        self._name = variant.model
        self._concurrency = variant.engine.concurrency or CONCURRENCY
        self._renderer: ModelTokenizer | None = None
        if variant.tokenizer is not None:
            self._renderer = ModelTokenizer(resolve_tokenizer(variant), variant.engine.trust_remote_code)
        self._end_ids = end_token_ids(self._renderer.tokenizer, []) if self._renderer else []
        self._probe_ids = tuple(self._renderer.encode(_PROBE).token_ids) if self._renderer else ()
        self._server = server_of(variant, self._concurrency)
        self._about: Mapping[str, str | int] = {}
        self._max_length: int | None = variant.engine.max_model_len
        self._completions: Mode | None = None
        self._chat: Mode | None = None
        self._why_no_scores: str | None = None
        self._lost = 0

    async def prepare(self) -> None:
        """Ask the server for its facts and try the forms of requests. Raises EngineError where it takes none."""
        self._about = await self._server.describe(self._name)
        served = self._about.get("max_model_len")
        self._max_length = min((n for n in (self._max_length, served) if isinstance(n, int) and n), default=None)
        refusals: list[str] = []
        if self._spec.endpoint != "chat":
            forms: list[Form] = ["token ids", "text"] if self._renderer else ["text"]
            self._completions = await self._first_taken("completions", forms, refusals)
        if self._spec.endpoint != "completions":
            self._chat = await self._first_taken("chat/completions", ["messages"], refusals)
        if self._completions is None and self._chat is None:
            raise EngineError(
                f"the server at {self._server.url} answers no completion for '{self._name}' ({refusals[-1]}); "
                "check base_url, the model's name and the endpoint"
            )
        self._why_no_scores = await self._try_scores()

    async def _first_taken(self, endpoint: Endpoint, forms: list[Form], refusals: list[str]) -> Mode | None:
        ids = self._probe_ids
        prompts = {"token ids": list(ids), "text": _PROBE, "messages": [{"role": "user", "content": _PROBE}]}
        for mode in (Mode(endpoint, form, extensions) for form in forms for extensions in (True, False)):
            body = self._sampling(mode, Sampling(1), seed=0, stop=[])
            body["messages" if mode.form == "messages" else "prompt"] = prompts[mode.form]
            try:
                answer = await self._server.complete(mode.endpoint, body, PROBE_RETRIES)
            except RequestFailedError as error:
                self._check_refused(error)
                refusals.append(str(error))
                continue
            # a server that takes token ids for text counts another number of tokens
            counted = answer.usage("prompt_tokens")
            if mode.form == "messages" or not ids or counted in (None, len(ids)):
                return replace(mode, usage=counted is not None)
            refusals.append(f"of {len(ids)} prompt tokens sent as {mode.form} it counted {counted}")
        return None

    def _check_refused(self, error: RequestFailedError) -> None:
        """Raises EngineError for a server that is only busy: it refused nothing, so no lesser form is tried."""
        if not error.final and error.status not in (500, 501):
            raise EngineError(f"the server at {self._server.url} does not answer what it is tried with: {error}")

    async def _try_scores(self) -> str | None:
        """The reason why the server gives no log-likelihood of given tokens; None where it does."""
        if self._completions is None or self._completions.form != "token ids":
            return "it takes tokens, and the study names no tokenizer or the server takes none"
        if len(self._probe_ids) < 2:
            return "the tokenizer gives too few tokens to try"
        try:
            await self._log_likelihood(self._probe_ids[:1], self._probe_ids[1:], PROBE_RETRIES)
        except RequestFailedError as error:
            self._check_refused(error)
            return str(error)
        return None

    def facts(self) -> dict[str, Any]:
        """Server and version as it gives them, the forms of requests, and what nobody can prove from outside."""
        modes = [mode for mode in (self._completions, self._chat) if mode is not None]
        own_template = self._renderer is not None and self._completions is not None
        return {
            "engine": "openai",
            "version": self._about.get("version") or "of unknown version",
            "server": {"base_url": self._server.url, "model": self._name, **self._about},
            "endpoints": {mode.endpoint: mode.form for mode in modes},
            "chat_template": "the exam's" if own_template else "the server's",
            "exam_tokens_sent": own_template and modes[0].form == "token ids",
            "sampling_extensions": all(mode.extensions for mode in modes),
            "usage_reported": all(mode.usage for mode in modes),
            "prompt_logprobs": self._why_no_scores is None,
            "end_token_ids": self._end_ids or None,
            "max_model_len": self._max_length,
            "concurrency": self._concurrency,
            "retries": self._server.retries,
            "unproved": UNPROVED,
        }

    async def stream(self, requests: AsyncIterator[Request]) -> AsyncIterator[Sample]:
        """Samples as they end, `concurrency` requests at once."""
        try:
            async for sample in as_they_end(requests, self._answer, self._concurrency):
                yield sample
        except ExceptionGroup as group:
            error = group.exceptions[0]
            if isinstance(error, EngineError | UserInputError):
                raise error from group
            raise EngineError(f"asking the server failed: {kind_and_message(error)}") from group

    async def _answer(self, request: Request) -> Sample:
        rendered = request.token_ids is not None or request.scored is not None
        if rendered and (why := problem(request, self._max_length, sys.maxsize, after_scored=1)):
            return failed(request, why)
        if request.reading is not None and self._why_no_scores is not None:
            return failed(request, f"the server gives no log-probabilities of a prompt: {self._why_no_scores}")
        try:
            sample = await (self._generate(request) if request.scored is None else self._score(request))
        except RequestFailedError as error:
            self._lost = 0 if error.final else self._lost + 1  # a server that refuses a request works
            if self._lost >= LOST_IN_A_ROW:
                raise EngineError(
                    f"the server at {self._server.url} gave no answer to {self._lost} requests in a row, each tried "
                    f"{self._server.retries + 1} times ({error}); start it again, then run the same command"
                ) from None
            return failed(request, str(error))
        self._lost = 0
        return sample

    async def _generate(self, request: Request) -> Sample:
        mode, prompt = self._asked(request)
        # a server would cut inside the reasoning too, so with one the stop strings are looked for here
        stop = list(request.sampling.stop) if request.reasoning_end is None else []
        body = self._sampling(mode, request.sampling, request.seed, stop) | prompt
        started = time.perf_counter()
        answer = await self._server.complete(mode.endpoint, body)
        seconds = time.perf_counter() - started
        text, stopped = cut_at_stop(_text(answer, request), request.sampling.stop, request.reasoning_end)
        reason = answer.choice.get("finish_reason")
        tokens = answer.usage("completion_tokens")
        if reason == "stop" and not stopped and tokens is not None and tokens >= request.sampling.max_tokens:
            reason = "length"  # some servers say "stop" of an answer that the budget has cut off
        finish: Finish = "stop" if stopped or reason == "stop" else "length" if reason == "length" else "error"
        given = answer.usage("prompt_tokens")
        return Sample(
            *(*request_key(request), text, finish),
            tokens=tokens,
            prompt_tokens=prompt_tokens(request) if mode.form == "token ids" and given is None else given,
            seconds=seconds,
            error=f"the server ended it with '{reason}'" if finish == "error" else None,
            served_model=self._other_model(answer),
        )

    def _asked(self, request: Request) -> tuple[Mode, Json]:
        """The form of a request and its prompt: the exam's tokens where the server takes them, else it renders."""
        asked = request.unrendered or Unrendered(None, None)
        if self._completions is not None and request.token_ids is not None:
            if self._completions.form == "token ids":
                return self._completions, {"prompt": list(request.token_ids)}
            rendered = self._renderer.decode(request.token_ids) if self._renderer and request.token_ids else asked.text
            return self._completions, {"prompt": rendered}
        if self._chat is not None and asked.messages is not None:
            body: Json = {"messages": list(asked.messages)}
            if asked.template_args:
                body["chat_template_kwargs"] = asked.template_args
            if asked.messages and asked.messages[-1]["role"] == "assistant":
                body |= {"add_generation_prompt": False, "continue_final_message": True}
            return self._chat, body
        if self._completions is not None and asked.text is not None:
            return self._completions, {"prompt": asked.text}
        what = "plain text" if asked.messages is None else "chat messages"
        raise ModelError(
            f"{request.benchmark} asks with {what}, which the server at {self._server.url} does not take at the "
            f"endpoint the study allows (it takes {', '.join(self.facts()['endpoints']) or 'none'}); give the "
            "variant a 'tokenizer', or change 'endpoint'"
        )

    def _sampling(self, mode: Mode, s: Sampling, seed: int, stop: list[str]) -> Json:
        """Model and sampling, every value explicit. Raises ModelError for one that the server does not take."""
        body: Json = {
            "model": self._name,
            "max_tokens": s.max_tokens,
            "temperature": s.temperature,
            "top_p": s.top_p,
            "presence_penalty": s.presence_penalty,
            "frequency_penalty": 0.0,
        }
        body |= ({"seed": seed} if s.temperature > 0 else {}) | ({"stop": stop} if stop else {})
        extensions = {"top_k": s.top_k or -1, "min_p": s.min_p, "repetition_penalty": s.repetition_penalty}
        if mode.extensions:
            return body | extensions | ({"stop_token_ids": self._end_ids} if self._end_ids else {})
        if needed := [name for name, value in extensions.items() if value != _NO_EXTENSIONS[name]]:
            raise ModelError(
                f"the protocol sets {', '.join(needed)}, which the server at {self._server.url} refuses; "
                "choose a protocol without them for every variant, or another server"
            )
        return body

    async def _score(self, request: Request) -> Sample:
        if self._why_no_scores is not None:
            raise ModelError(
                f"{request.benchmark} needs the log-likelihood of given texts, which the server at {self._server.url} "
                f"does not give ({self._why_no_scores}); run these variants with engine vllm, or leave this benchmark "
                "out"
            )
        started = time.perf_counter()
        if request.reading is not None:
            arrays = await self._numbers(*the_text(request), request.reading.top)
            return reading_sample(request, arrays, time.perf_counter() - started)
        # one after the other: `concurrency` counts what the server has to do at once
        found = [await self._log_likelihood(*pair) for pair in request.scored or ()]
        return Sample(
            *(*request_key(request), "", "stop", 0, prompt_tokens(request)),
            seconds=time.perf_counter() - started,
            logprobs=tuple((total, likeliest) for total, likeliest, _ in found),
            served_model=next((name for *_, name in found if name is not None), None),
        )

    async def _log_likelihood(
        self, context: tuple[int, ...], continuation: tuple[int, ...], most_retries: int | None = None
    ) -> tuple[float, bool, str | None]:
        """(sum of log-probabilities, whether each token was the most likely, other model) of the echoed prompt."""
        pairs, answer = await self._echoed(context, continuation, 1, most_retries)
        likeliest = all(value >= max(top.values()) for value, top in pairs)
        return math.fsum(value for value, _ in pairs), likeliest, self._other_model(answer)

    async def _echoed(
        self, context: tuple[int, ...], continuation: tuple[int, ...], top: int, most_retries: int | None = None
    ) -> tuple[list[tuple[float, dict[str, float]]], Answer]:
        """(log-probability, those of the `top` likeliest tokens by name) of each token of the continuation, echoed."""
        ids = [*context, *continuation]
        body = {"model": self._name, "prompt": ids, "max_tokens": 1, "temperature": 0.0, "echo": True, "logprobs": top}
        if top > 1 and self._completions is not None and self._completions.extensions:
            body["return_tokens_as_token_ids"] = True  # the texts of two tokens can be the same
        answer = await self._server.complete("completions", body, most_retries)
        given = answer.choice.get("logprobs")
        told = [given.get(name) if isinstance(given, dict) else None for name in ("token_logprobs", "top_logprobs")]
        chosen, best = (value if isinstance(value, list) else [] for value in told)
        # some tell of the one token that they had to generate, too
        if not len(ids) <= len(chosen) <= len(ids) + 1 or len(best) != len(chosen):
            why = f"asked to echo {len(ids)} tokens it gave {len(chosen)} log-probabilities"
            raise RequestFailedError(why, final=True)
        pairs = list(zip(chosen, best, strict=True))[len(context) : len(ids)]
        for value, likeliest in pairs:
            if not (isinstance(likeliest, dict) and likeliest and all(map(_is_number, (value, *likeliest.values())))):
                raise RequestFailedError("a log-probability of the prompt is missing", final=True)
        return pairs, answer

    async def _numbers(self, context: tuple[int, ...], answer: tuple[int, ...], top: int) -> Arrays:
        """The arrays of `readings.py`; raises RequestFailedError where the server tells of fewer tokens."""
        pairs, _ = await self._echoed(context, answer, top)
        ids, logprobs = np.full((len(pairs), top), -1, np.int32), np.full((len(pairs), top), -np.inf, np.float32)
        for at, (_, likeliest) in enumerate(pairs):
            if len(likeliest) < top:
                why = f"it tells of {len(likeliest)} likely tokens where {top} are asked for"
                raise RequestFailedError(why, final=True)
            best = sorted(likeliest.items(), key=lambda entry: -entry[1])[:top]
            ids[at], logprobs[at] = [_token_number(name) for name, _ in best], [value for _, value in best]
        return {"ids": ids, "logprobs": logprobs, "chosen": np.array([value for value, _ in pairs], np.float32)}

    def _other_model(self, answer: Answer) -> str | None:
        return None if answer.model == self._name else answer.model


def _text(answer: Answer, request: Request) -> str:
    """The raw text; a reasoning that the server has separated stands before the answer again, in its tags."""
    content, message = answer.text, answer.choice.get("message") or {}
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    parts = "reasoning_content" in message or "reasoning" in message
    if not reasoning and not (parts and content and request.reasoning_end is not None):
        return content  # else the server parts reasonings and found none: all of the content is the answer
    start = (request.unrendered or Unrendered(None, None)).reasoning_start
    # without an answer nobody can tell whether the reasoning ended: then it did not
    end = (request.reasoning_end or _REASONING_END) if content else ""
    return f"{start}{reasoning or ''}{end}{content}"


def _token_number(name: str) -> int:
    """A number for a token that a server names: its id where that is told, else one that its text alone decides."""
    told = name.removeprefix("token_id:")
    return int(told) if told != name and told.isdecimal() else zlib.crc32(name.encode("utf-8", "replace")) >> 1


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


ENGINE = OpenAIEngine
