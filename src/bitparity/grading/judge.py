"""Asks a judge for the verdicts that are missing and keeps them beside the samples.

```
judgments/<variant>/<benchmark>.jsonl     append-only: prompt, model, reply, verdict or error
```
A stored verdict is never asked for again. A failure is stored too and tried again by the next run; the key of the
endpoint is in no record and no message.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from bitparity.benchmarks.contract import Benchmark, JudgeSettings
from bitparity.benchmarks.judging import Judgment, read_reply
from bitparity.benchmarks.registry import load_benchmark
from bitparity.engines.openai_client import passes, retry_after, sendable
from bitparity.errors import StudyError
from bitparity.grading.rules import completion_of
from bitparity.progress.events import Events
from bitparity.records import Item, Sample, SampleKey
from bitparity.schema import Study
from bitparity.store.jsonl import AppendLog, file_stem, read_lines
from bitparity.store.run import Run

ATTEMPTS = 5


PARALLEL = 8  # requests in flight


TIMEOUT_S = 300.0


LONGEST_WAIT_S = 60.0


_REFUSALS = {401, 403, 404}  # the next sample would fare no better


class Question(NamedTuple):
    """One sample to judge and the prompt about it."""

    key: SampleKey
    prompt: str


class RefusedError(Exception):
    """The endpoint refuses all requests; the message says why."""


class _PassingError(Exception):
    """A passing failure; `wait_s` is what the endpoint asks for."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class _RequestError(Exception):
    """A failure of this request alone."""


def key_of(settings: JudgeSettings) -> str | None:
    """The key of the endpoint. Raises StudyError where the variable named in the study has none that can be sent."""
    if settings.api_key_env is None:
        return None
    key = os.environ.get(settings.api_key_env, "").strip()
    if not key:
        raise StudyError(f"judge: the environment variable {settings.api_key_env} is not set; it must hold the key")
    if not sendable(key):
        raise StudyError(
            f"judge: the environment variable {settings.api_key_env} holds a line break or a character beyond ASCII, "
            "which no key has; export it again with the key alone"
        )
    return key


def check(study: Study) -> None:
    """Raises StudyError before anything runs where the key of a judge is not set or cannot be sent."""
    for spec in study.benchmarks:
        if (settings := load_benchmark(spec).judge if spec.settings.get("judge") else None) is not None:
            key_of(settings)


def judgments_path(run: Run, variant: str, benchmark: str) -> Path:
    """Where the verdicts on a variant's samples are kept."""
    return run.path / "judgments" / variant / f"{file_stem(benchmark)}.jsonl"


def stored(path: Path) -> dict[SampleKey, Judgment]:
    """The judgments by (item, sample): the first with a verdict, else the last failure."""
    found: dict[SampleKey, Judgment] = {}
    for row in read_lines(path):
        key = (row["item"], row["sample"])
        if key not in found or found[key].correct is None:
            found[key] = Judgment(row["correct"], row["extracted"], row["error"])
    return found


def verdicts(
    run: Run,
    benchmark: Benchmark,
    variant: str,
    items: Mapping[str, Item],
    samples: Mapping[SampleKey, Sample],
    events: Events,
    *,
    ask: bool,
    opened: bool | None = None,
) -> dict[SampleKey, Judgment]:
    """The judgments on all samples that have an answer; those without one are wrong and not shown to the judge.

    The judge sees the answer, never the reasoning; `opened` as in `grading.split_reasoning`.

    With `ask`, what is missing is asked for now. A judge that refuses leaves the rest without a verdict, with the
    reason. Raises StudyError where the key is not set.
    """
    settings = benchmark.judge
    if settings is None:
        return {}
    path = judgments_path(run, variant, benchmark.spec.name)
    known = stored(path)
    questions: list[Question] = []
    for key, sample in samples.items():
        answer = completion_of(sample, benchmark.spec.protocol, opened).text
        if sample.finish == "error" or (key in known and known[key].correct is not None):
            continue
        if not answer.strip():
            known[key] = Judgment(False)
        else:
            questions.append(Question(key, benchmark.judge_prompt(items[sample.item], answer, sample.sample)))
    if ask and questions:
        known |= _ask_all(Judge(settings), questions, path, f"{variant}: judging {benchmark.spec.name}", events)
    return known


def _ask_all(
    judge: Judge, questions: Sequence[Question], path: Path, what: str, events: Events
) -> dict[SampleKey, Judgment]:
    found: dict[SampleKey, Judgment] = {}
    log = AppendLog(path)
    pool = ThreadPoolExecutor(PARALLEL)
    try:
        with events.task(what, len(questions), "answers") as advance:
            for key, row in _answers(pool, judge, questions):
                log.append([row])
                found[key] = Judgment(row["correct"], row["extracted"], row["error"])
                advance(1)
    except RefusedError as refusal:
        found = {q.key: Judgment(None, error=str(refusal)) for q in questions} | found
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        log.close()
    return found


def _answers(
    pool: ThreadPoolExecutor, judge: Judge, questions: Sequence[Question]
) -> Iterator[tuple[SampleKey, dict[str, Any]]]:
    asked: dict[Future[dict[str, Any]], SampleKey] = {pool.submit(judge.ask, q): q.key for q in questions}
    for future in as_completed(asked):
        yield asked[future], future.result()


class Judge:
    """One endpoint. `ask` may be called from several threads."""

    def __init__(self, settings: JudgeSettings, sleep: Callable[[float], None] = time.sleep) -> None:
        self._settings = settings
        self._key = key_of(settings)
        self._sleep = sleep
        # a redirect would take the key to another host
        self._opener = urllib.request.build_opener(_NoRedirect())

    def ask(self, question: Question) -> dict[str, Any]:
        """The record of one judgment, with a verdict or an error. Raises RefusedError where all are refused."""
        started = time.monotonic()
        reply: dict[str, Any] = {}
        judgment = Judgment(None, error="not asked")
        attempt = 0
        while attempt < ATTEMPTS and judgment.correct is None:
            attempt += 1
            wait_s = min(LONGEST_WAIT_S, 2.0 ** (attempt - 1))
            try:
                reply = self._post(question.prompt)
                judgment = read_reply(reply["text"])
            except _RequestError as error:
                judgment = Judgment(None, error=str(error))
                break
            except _PassingError as error:
                judgment = Judgment(None, error=str(error))
                wait_s = min(LONGEST_WAIT_S, max(wait_s, error.wait_s))
            if judgment.correct is None and attempt < ATTEMPTS:
                self._sleep(wait_s)
        return {
            "item": question.key[0],
            "sample": question.key[1],
            "model": self._settings.model,
            "endpoint": self._settings.base_url,
            "served_model": reply.get("model"),
            "prompt": question.prompt,
            "reply": reply.get("text"),
            "correct": judgment.correct,
            "extracted": judgment.extracted,
            "error": judgment.error,
            "attempts": attempt,
            "tokens": reply.get("tokens"),
            "seconds": round(time.monotonic() - started, 3),
        }

    def _post(self, prompt: str) -> dict[str, Any]:
        s = self._settings
        body: dict[str, Any] = {
            "model": s.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_completion_tokens": s.max_tokens,
        }
        if s.temperature is not None:
            body["temperature"] = s.temperature
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        data = json.dumps(body).encode("utf-8", "surrogatepass")
        request = urllib.request.Request(f"{s.base_url}/chat/completions", data, headers, method="POST")
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as response:
                return self._read(response.read())
        except urllib.error.HTTPError as error:
            raise self._failure(error) from None
        except (OSError, http.client.HTTPException) as error:
            raise _PassingError(
                self._clean(f"{s.base_url} cannot be reached: {getattr(error, 'reason', error)}")
            ) from None

    def _read(self, body: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(body)
            text = answer["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            raise _PassingError(f"{self._settings.base_url} gave no chat completion") from None
        if not isinstance(text, str | None):
            raise _PassingError(f"{self._settings.base_url} gave an answer that is no text")
        usage = answer.get("usage")
        tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
        return {"text": text or "", "model": answer.get("model"), "tokens": tokens}

    def _failure(self, error: urllib.error.HTTPError) -> Exception:
        with error:
            said = " ".join(error.read(2000).decode("utf-8", "replace").split())
        reason = (
            f"{self._settings.base_url} answered {error.code}: {self._clean(said)[:200]}"  # cut last: no half a key
        )
        if passes(error.code):
            return _PassingError(reason, retry_after(error.headers.get("Retry-After")) or 0.0)
        if error.code in _REFUSALS or error.code < 400:
            remedy = "check base_url, model and api_key_env of the judge, then run the same command again"
            return RefusedError(f"{reason}; {remedy}")
        return _RequestError(reason)

    def _clean(self, text: str) -> str:
        """Some endpoints repeat the key in their error messages."""
        return text.replace(self._key, "[key]") if self._key else text


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None
