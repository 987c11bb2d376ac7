"""Client of a judge: a prompt about one answer is sent to a model, and its reply is read as a verdict."""

from __future__ import annotations

import time

from bitparity.benchmarks.contract import JudgeSettings
from bitparity.benchmarks.judging import Judgment, read_reply
from bitparity.engines.openai_client import Answer, Json, RequestFailedError, Server, read_key, with_retries
from bitparity.errors import EngineError, UserInputError

RETRIES = 4
PARALLEL = 8  # requests at once
TIMEOUT_S = 300.0


class RefusedError(EngineError):
    """The endpoint refuses all requests; the message says why."""


class Judge:
    """One endpoint that judges. Raises what `Server` and `read_key` raise."""

    def __init__(self, settings: JudgeSettings) -> None:
        self._settings = settings
        self._server = Server(settings.base_url, read_key(settings.api_key_env), PARALLEL, TIMEOUT_S)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._server.aclose()

    async def ask(self, prompt: str) -> tuple[Judgment, dict[str, object]]:
        """One judgment, with a verdict or an error, and a record of it. Raises RefusedError where all are refused."""
        started = time.monotonic()
        last: Answer | None = None
        attempts = 0

        async def attempt() -> Judgment:
            nonlocal last, attempts
            attempts += 1
            answer = await self._server.complete_once("chat/completions", self._body(prompt))
            if answer.in_parts:
                raise RequestFailedError("the endpoint gave an answer that is no text", final=False)
            last = answer
            judgment = read_reply(answer.text)
            if judgment.correct is None:
                raise RequestFailedError(judgment.error or "", final=False)
            return judgment

        try:
            judgment = await with_retries(attempt, RETRIES)
        except (RequestFailedError, UserInputError) as error:
            judgment = self._failure(error)
        return judgment, {
            "model": self._settings.model,
            "endpoint": self._settings.base_url,
            "served_model": last and last.model,
            "prompt": prompt,
            "reply": last and last.text,
            "correct": judgment.correct,
            "extracted": judgment.extracted,
            "error": judgment.error,
            "attempts": attempts,
            "tokens": last and last.usage("completion_tokens"),
            "seconds": round(time.monotonic() - started, 3),
        }

    def _failure(self, error: RequestFailedError | UserInputError) -> Judgment:
        """The judgment without a verdict. Raises RefusedError for a key, an address or a model that is refused."""
        if isinstance(error, RequestFailedError) and error.status != 404 and not 300 <= (error.status or 0) < 400:
            return Judgment(None, error=str(error))
        remedy = "check base_url, model and api_key_env of the judge, then run the same command again"
        raise RefusedError(f"{self._settings.base_url}: {error}; {remedy}")

    def _body(self, prompt: str) -> Json:
        s = self._settings
        body = {"model": s.model, "messages": [{"role": "user", "content": prompt}]}
        sampling = {"max_completion_tokens": s.max_tokens, "temperature": s.temperature}
        return body | {name: value for name, value in sampling.items() if value is not None}
