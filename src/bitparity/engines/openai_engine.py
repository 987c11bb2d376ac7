"""Any OpenAI-compatible server, over HTTP: vLLM, SGLang, llama.cpp, a gateway, a vendor.

Where the study names a tokenizer and the server takes tokens, the exam's own token ids are sent and the server
renders nothing. Otherwise chat messages go out and the server's template renders them. What a server really runs
(weights, kernels, number types) cannot be proved from outside: `facts` says so, and a guard repeats it.

Every sampling value is sent, since servers take what is left out from the checkpoint's generation_config.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bitparity.engines.checks import failed, one_line, problem, prompt_tokens
from bitparity.engines.contract import Engine
from bitparity.engines.decoding import cut_at_stop, end_token_ids
from bitparity.engines.flow import as_they_end
from bitparity.errors import EngineError, ModelError, UserInputError
from bitparity.exam.rendering import Renderer
from bitparity.models.checkpoint import resolve_tokenizer
from bitparity.records import Finish, Request, Sample, Sampling
from bitparity.schema import EngineSpec, Variant

if TYPE_CHECKING:
    from bitparity.engines.openai_client import Answer, Unanswered

CONCURRENCY = 32  # requests at once, where the study names no number
TRIES = 4  # after the first, while it is tried out what the server takes
LOST_IN_A_ROW = 8  # requests given up one after the other, before the server counts as gone
UNPROVED = ["weights", "revision", "quantization", "kernels", "attention backend", "KV-cache type", "device"]

_PROBE = "Say yes."
_REASONING_END = "</think>"  # where the protocol has no reasoning and the server parts one off nevertheless

Form = Literal["token ids", "text", "messages"]


@dataclass(frozen=True, slots=True)
class Mode:
    """A way of asking that the server takes. `extensions`: it takes sampling values beyond OpenAI's own."""

    endpoint: Literal["completions", "chat/completions"]
    form: Form
    extensions: bool
    usage: bool


class OpenAIEngine(Engine):
    """See the module. Raises UserInputError without the key, EngineError where the server does not answer."""

    has_local_weights = False
    served = True
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
        from bitparity.engines.openai_client import Server

        self._spec = variant.engine
        self._name = variant.model
        self._concurrency = variant.engine.concurrency or CONCURRENCY
        self._renderer: Renderer | None = None
        if variant.tokenizer is not None:
            self._renderer = Renderer(resolve_tokenizer(variant), variant.engine.trust_remote_code)
        self._ends = end_token_ids(self._renderer.tokenizer, []) if self._renderer else []
        self._server = Server(variant.engine, _key(variant.engine.api_key_env), self._concurrency)
        self._about: dict[str, Any] = {}
        self._max_length: int | None = variant.engine.max_model_len
        self._completions: Mode | None = None
        self._chat: Mode | None = None
        self._scores: str | None = None  # why no log-probabilities can be had
        self._lost = 0

    async def prepare(self) -> None:
        """Ask the server what it is, and try which ways of asking it takes. Raises EngineError where none works."""
        self._about = await self._server.describe(self._name)
        served = self._about.get("max_model_len")
        self._max_length = min((n for n in (self._max_length, served) if n), default=None)
        refusals: list[str] = []
        if self._spec.endpoint != "chat":
            self._completions = await self._first_taken(_completion_modes(self._renderer), refusals)
        if self._spec.endpoint != "completions":
            self._chat = await self._first_taken(_chat_modes(), refusals)
        if self._completions is None and self._chat is None:
            raise EngineError(
                f"the server at {self._server.url} answers no completion for '{self._name}' ({refusals[-1]}); "
                "check base_url, the model's name and the endpoint"
            )
        self._scores = await self._why_no_scores()

    async def _first_taken(self, modes: Iterator[Mode], refusals: list[str]) -> Mode | None:
        from bitparity.engines.openai_client import Unanswered

        for mode in modes:
            ids = self._probe_ids()
            body = self._body(mode, Sampling(1), seed=0, stop=[])
            body |= {"messages": [{"role": "user", "content": _PROBE}]} if mode.form == "messages" else {}
            body |= {"prompt": ids if mode.form == "token ids" else _PROBE} if mode.form != "messages" else {}
            try:
                answer = await self._server.post(mode.endpoint, body, patience=TRIES)
            except Unanswered as error:
                self._check_refused(error)
                refusals.append(str(error))
                continue
            counted = answer.usage("prompt_tokens")
            if mode.form != "messages" and self._renderer is not None and counted not in (None, len(ids)):
                refusals.append(f"of {len(ids)} prompt tokens sent as {mode.form} it counted {counted}")
                continue
            return Mode(mode.endpoint, mode.form, mode.extensions, counted is not None)
        return None

    def _check_refused(self, error: Unanswered) -> None:
        """A server that is only busy refuses nothing: raise EngineError, or a lesser way of asking would be taken."""
        if not error.final and error.status not in (500, 501):
            raise EngineError(f"the server at {self._server.url} does not answer what it is tried with: {error}")

    def _probe_ids(self) -> list[int]:
        return [] if self._renderer is None else list(self._renderer.encode(_PROBE).token_ids)

    async def _why_no_scores(self) -> str | None:
        """Why the log-likelihood of given tokens cannot be had; None where it can."""
        from bitparity.engines.openai_client import Unanswered

        if self._completions is None or self._completions.form != "token ids":
            return "it takes tokens, and the study names no tokenizer or the server takes none"
        ids = tuple(self._probe_ids())
        if len(ids) < 2:
            return "the tokenizer gives too few tokens to try"
        try:
            await self._log_likelihood(ids[:1], ids[1:], patience=TRIES)
        except Unanswered as error:
            self._check_refused(error)
            return str(error)
        return None

    def facts(self) -> dict[str, Any]:
        """Server and version as it tells them, how it is asked, and what nobody can prove from here."""
        modes = [mode for mode in (self._completions, self._chat) if mode is not None]
        tokens = self._completions is not None and self._completions.form != "text"
        template = "the exam's" if self._renderer is not None and self._completions is not None else "the server's"
        return {
            "engine": "openai",
            "version": self._about.get("version") or "of unknown version",
            "server": {"base_url": self._server.url, "model": self._name, **self._about},
            "endpoints": {mode.endpoint: mode.form for mode in modes},
            "chat_template": template,
            "exam_tokens_sent": tokens and self._renderer is not None,
            "sampling_extensions": all(mode.extensions for mode in modes),
            "usage_reported": all(mode.usage for mode in modes),
            "prompt_logprobs": self._scores is None,
            "end_token_ids": self._ends or None,
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
            raise _first_error(group) from group

    async def _answer(self, request: Request) -> Sample:
        from bitparity.engines.openai_client import Unanswered

        rendered = request.token_ids is not None or request.scored is not None
        if rendered and (why := problem(request, self._max_length, sys.maxsize, after_scored=1)):
            return failed(request, why)
        try:
            sample = await (self._generate(request) if request.scored is None else self._score(request))
        except Unanswered as error:
            if error.final:  # refused for what it is, so the server works
                self._lost = 0
            else:
                self._lost += 1
            if self._lost >= LOST_IN_A_ROW:
                raise EngineError(
                    f"the server at {self._server.url} gave no answer to {self._lost} requests in a row, each tried "
                    f"{self._server.retries + 1} times ({error}); start it again, then run the same command"
                ) from None
            return failed(request, str(error))
        self._lost = 0
        return sample

    async def _generate(self, request: Request) -> Sample:
        mode = self._mode(request)
        stop = list(request.sampling.stop) if request.reasoning_end is None else []
        body = self._body(mode, request.sampling, request.seed, stop) | self._prompt(mode, request)
        started = time.perf_counter()
        answer = await self._server.post(mode.endpoint, body)
        seconds = time.perf_counter() - started
        text, stopped = cut_at_stop(_text(answer, request), request.sampling.stop, request.reasoning_end)
        finish: Finish = "stop" if stopped else _finish(answer.choice.get("finish_reason"))
        why = f"the server ended it with '{answer.choice.get('finish_reason')}'" if finish == "error" else None
        counted = answer.usage("prompt_tokens")
        key = (request.benchmark, request.item, request.sample)
        given = prompt_tokens(request) if mode.form == "token ids" and counted is None else counted
        counts = (answer.usage("completion_tokens"), given)
        other = answer.model_but(self._name)
        return Sample(*key, text, finish, *counts, seconds, error=why, served_model=other)

    def _mode(self, request: Request) -> Mode:
        """How to ask this: with the exam's tokens where that goes, else as the server renders it by itself."""
        asked = request.unrendered
        if request.token_ids is not None and self._completions is not None:
            return self._completions
        if asked is not None and asked.messages is not None and self._chat is not None:
            return self._chat
        if asked is not None and asked.text is not None and self._completions is not None:
            return self._completions
        what = "chat messages" if asked is not None and asked.messages is not None else "plain text"
        raise ModelError(
            f"{request.benchmark} asks with {what}, which the server at {self._server.url} does not take at the "
            f"endpoint the study allows (it takes {', '.join(self.facts()['endpoints']) or 'none'}); give the "
            "variant a 'tokenizer', or change 'endpoint'"
        )

    def _prompt(self, mode: Mode, request: Request) -> dict[str, Any]:
        asked = request.unrendered
        if mode.form == "token ids":
            return {"prompt": list(request.token_ids or ())}
        if mode.form == "text":
            rendered = self._renderer.decode(request.token_ids or ()) if self._renderer and request.token_ids else None
            return {"prompt": rendered if rendered is not None else asked.text if asked is not None else None}
        assert asked is not None
        body: dict[str, Any] = {"messages": list(asked.messages or ())}
        if asked.template_args:
            body["chat_template_kwargs"] = asked.template_args
        if asked.messages and asked.messages[-1]["role"] == "assistant":
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        return body

    def _body(self, mode: Mode, s: Sampling, seed: int, stop: list[str]) -> dict[str, Any]:
        """Model and sampling, every value explicit. Raises ModelError for one that the server does not take."""
        body: dict[str, Any] = {
            "model": self._name,
            "max_tokens": s.max_tokens,
            "temperature": s.temperature,
            "top_p": s.top_p,
            "presence_penalty": s.presence_penalty,
            "frequency_penalty": 0.0,
        }
        if s.temperature > 0:
            body["seed"] = seed
        if stop:
            body["stop"] = stop
        extensions = {"top_k": s.top_k or -1, "min_p": s.min_p, "repetition_penalty": s.repetition_penalty}
        if mode.extensions:
            return body | extensions | ({"stop_token_ids": self._ends} if self._ends else {})
        neutral = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
        if asked := [name for name, value in extensions.items() if value != neutral[name]]:
            raise ModelError(
                f"the protocol sets {', '.join(asked)}, which the server at {self._server.url} refuses; "
                "choose a protocol without them for every variant, or another server"
            )
        return body

    async def _score(self, request: Request) -> Sample:
        if self._scores is not None:
            raise ModelError(
                f"{request.benchmark} needs the log-likelihood of given texts, which the server at {self._server.url} "
                f"does not give ({self._scores}); run these variants with engine vllm, or leave this benchmark out"
            )
        started = time.perf_counter()
        # one after the other: `concurrency` counts what the server has to do at once
        found = [await self._log_likelihood(*pair) for pair in request.scored or ()]
        key = (request.benchmark, request.item, request.sample)
        seconds = time.perf_counter() - started
        pairs = tuple((total, likeliest) for total, likeliest, _ in found)
        other = next((name for *_, name in found if name is not None), None)
        given = prompt_tokens(request)
        return Sample(*key, "", "stop", 0, given, seconds, logprobs=pairs, served_model=other)

    async def _log_likelihood(
        self, context: tuple[int, ...], continuation: tuple[int, ...], patience: int | None = None
    ) -> tuple[float, bool, str | None]:
        """(sum of log-probabilities, whether each token was the most likely, other model) of the echoed prompt."""
        from bitparity.engines.openai_client import Unanswered

        ids = context + continuation
        body = {
            "model": self._name,
            "prompt": list(ids),
            "max_tokens": 1,
            "temperature": 0.0,
            "echo": True,
            "logprobs": 1,
        }
        answer = await self._server.post("completions", body, patience)
        given = answer.choice.get("logprobs")
        told = [given.get(name) if isinstance(given, Mapping) else None for name in ("token_logprobs", "top_logprobs")]
        chosen, best = (value if isinstance(value, list) else [] for value in told)
        if not len(ids) <= len(chosen) <= len(ids) + 1 or len(best) != len(chosen):
            raise Unanswered(f"asked to echo {len(ids)} tokens it gave {len(chosen)} log-probabilities", final=True)
        pairs = list(zip(chosen, best, strict=True))[len(context) : len(ids)]
        if any(not _is_number(value) or not _are_numbers(top) for value, top in pairs):
            raise Unanswered("a log-probability of the prompt is missing", final=True)
        likeliest = all(value >= max(top.values()) for value, top in pairs)
        return math.fsum(value for value, _ in pairs), likeliest, answer.model_but(self._name)

    def close(self) -> None:
        """Nothing to free: connections end with the process."""


async def about_server(variant: Variant) -> dict[str, Any]:
    """What a variant's server says of itself and the model, asked once. Raises as the engine does."""
    OpenAIEngine.import_libraries()
    from bitparity.engines.openai_client import Server

    server = Server(variant.engine, _key(variant.engine.api_key_env), 1)
    try:
        return await server.describe(variant.model)
    finally:
        await server.aclose()


def _key(name: str | None) -> str | None:
    """The key from the variable that the study names. Raises UserInputError where it is not set or cannot be sent."""
    from bitparity.engines.openai_client import sendable

    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise UserInputError(f"the variable {name}, named by api_key_env, is not set; export it with the server's key")
    if not sendable(key):
        raise UserInputError(
            f"the variable {name}, named by api_key_env, holds a line break or a character beyond ASCII, which no key "
            "has; export it again with the key alone"
        )
    return key


def _completion_modes(renderer: Renderer | None) -> Iterator[Mode]:
    """Ways to ask for a completion, the best first."""
    forms: tuple[Form, ...] = ("text",) if renderer is None else ("token ids", "text")
    for form in forms:
        for extensions in (True, False):
            yield Mode("completions", form, extensions, False)


def _chat_modes() -> Iterator[Mode]:
    for extensions in (True, False):
        yield Mode("chat/completions", "messages", extensions, False)


def _text(answer: Answer, request: Request) -> str:
    """The raw text; a reasoning that the server parted off stands before the answer again, in its tags."""
    content, message = answer.text, answer.choice.get("message") or {}
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if not isinstance(reasoning, str) or not reasoning:
        return content
    start = request.unrendered.reasoning_start if request.unrendered is not None else ""
    # without an answer nobody can tell whether the reasoning ended: then it did not
    end = (request.reasoning_end or _REASONING_END) if content else ""
    return f"{start}{reasoning}{end}{content}"


def _finish(reason: Any) -> Finish:
    return "stop" if reason == "stop" else "length" if reason == "length" else "error"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_numbers(top: Any) -> bool:
    return isinstance(top, Mapping) and bool(top) and all(map(_is_number, top.values()))


def _first_error(group: BaseExceptionGroup[Exception]) -> Exception:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, EngineError | UserInputError):
        return error
    return EngineError(f"asking the server failed: {one_line(error)}")


ENGINE = OpenAIEngine
