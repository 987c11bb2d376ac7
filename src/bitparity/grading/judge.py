"""Judge: a model that says which answers are right. Its judgments are stored beside the samples.

```
judgments/<variant>/<benchmark>.jsonl     append-only: prompt, model, reply, verdict or error
```
A stored verdict is never asked for again. A failure is stored too and tried again by the next run; the key of the
endpoint is in no record and no message.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bitparity.benchmarks.contract import Benchmark, JudgeSettings
from bitparity.benchmarks.judging import Judgment, read_reply
from bitparity.benchmarks.registry import load_benchmark
from bitparity.engines.openai_client import Json, RequestFailedError, Server, read_key, require_httpx, with_retries
from bitparity.errors import EngineError, UserInputError
from bitparity.grading.rules import completion_of
from bitparity.progress.events import Events
from bitparity.records import Item, Sample, SampleKey
from bitparity.schema import Study
from bitparity.store.jsonl import AppendLog, file_stem, read_lines
from bitparity.store.run import Run

RETRIES = 4
PARALLEL = 8  # requests at once
TIMEOUT_S = 300.0


class Question(NamedTuple):
    """One sample to judge and the prompt about it."""

    key: SampleKey
    prompt: str


class RefusedError(Exception):
    """The endpoint refuses all requests; the message says why."""


def check(study: Study) -> None:
    """Raises UserInputError before anything runs where the key of a judge is not usable or httpx is not installed."""
    for spec in study.benchmarks:
        if (settings := load_benchmark(spec).judge if spec.settings.get("judge") else None) is not None:
            read_key(settings.api_key_env)
            require_httpx()


def judgments_path(run: Run, variant: str, benchmark: str) -> Path:
    """The file of the judgments on a variant's samples."""
    return run.path / "judgments" / variant / f"{file_stem(benchmark)}.jsonl"


def stored(path: Path) -> dict[SampleKey, Judgment]:
    """The judgments by (item, sample): the first with a verdict, else the last failure."""
    found: dict[SampleKey, Judgment] = {}
    for row in read_lines(path):
        key = (row["item"], row["sample"])
        if key not in found or found[key].correct is None:
            found[key] = Judgment(row["correct"], row["extracted"], row["error"])
    return found


def judge_samples(
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

    The judge sees the answer, never the reasoning; `opened` as in `rules.split_reasoning`.

    With `ask`, the judge is asked for missing judgments. A judge that refuses leaves the rest without a verdict, with
    the reason. Raises UserInputError where the key is not set.
    """
    settings = benchmark.judge
    if settings is None:
        return {}
    path = judgments_path(run, variant, benchmark.spec.name)
    found = stored(path)
    questions: list[Question] = []
    for key, sample in samples.items():
        answer = completion_of(sample, benchmark.spec.protocol, opened).text
        if sample.finish == "error" or (key in found and found[key].correct is not None):
            continue
        if not answer.strip():
            found[key] = Judgment(False)
        else:
            questions.append(Question(key, benchmark.judge_prompt(items[sample.item], answer, sample.sample)))
    if ask and questions:
        with events.task(f"{variant}: judging {benchmark.spec.name}", len(questions), "answers") as advance:
            found |= _ask_and_store(settings, questions, path, advance)
    return found


def _ask_and_store(
    settings: JudgeSettings, questions: Sequence[Question], path: Path, advance: Callable[[int], None]
) -> dict[SampleKey, Judgment]:
    found: dict[SampleKey, Judgment] = {}
    log = AppendLog(path)

    def keep(key: SampleKey, judgment: Judgment, row: Mapping[str, object]) -> None:
        log.append([dict(row)])
        found[key] = judgment
        advance(1)

    try:
        asyncio.run(_ask_all(settings, questions, keep))
    except (RefusedError, EngineError) as refusal:
        return {q.key: Judgment(None, error=str(refusal)) for q in questions} | found
    finally:
        log.close()
    return found


async def _ask_all(
    settings: JudgeSettings,
    questions: Sequence[Question],
    keep: Callable[[SampleKey, Judgment, Mapping[str, object]], None],
) -> None:
    judge, places = Judge(settings), asyncio.Semaphore(PARALLEL)

    async def judged(question: Question) -> tuple[SampleKey, Judgment, Mapping[str, object]]:
        async with places:
            return question.key, *await judge.ask(question)

    tasks = [asyncio.create_task(judged(question)) for question in questions]
    try:
        for task in asyncio.as_completed(tasks):
            keep(*await task)
    finally:
        for unfinished in tasks:
            unfinished.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await judge.aclose()


class Judge:
    """One endpoint that judges."""

    def __init__(self, settings: JudgeSettings) -> None:
        self._settings = settings
        self._server = Server(settings.base_url, read_key(settings.api_key_env), PARALLEL, TIMEOUT_S)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._server.aclose()

    async def ask(self, question: Question) -> tuple[Judgment, dict[str, object]]:
        """One judgment, with a verdict or an error, and its record. Raises RefusedError where all are refused."""
        started, attempts = time.monotonic(), 0
        said: dict[str, object] = {"served_model": None, "reply": None, "tokens": None}

        async def attempt() -> Judgment:
            nonlocal attempts
            attempts += 1
            answer = await self._server.complete_once("chat/completions", self._body(question.prompt))
            if isinstance(answer.choice["message"]["content"], list):
                raise RequestFailedError("the endpoint gave an answer that is no text", final=False)
            said.update(served_model=answer.model, reply=answer.text, tokens=answer.usage("completion_tokens"))
            judgment = read_reply(answer.text)
            if judgment.correct is None:
                raise RequestFailedError(judgment.error or "", final=False)
            return judgment

        try:
            judgment = await with_retries(attempt, RETRIES)
        except UserInputError as error:
            raise RefusedError(str(error)) from None
        except RequestFailedError as error:
            if error.status is not None and (error.status < 400 or error.status == 404):
                remedy = "check base_url and model of the judge, then run the same command again"
                raise RefusedError(f"{self._settings.base_url}: {error}; {remedy}") from None
            judgment = Judgment(None, error=str(error))
        return judgment, {
            "item": question.key[0],
            "sample": question.key[1],
            "model": self._settings.model,
            "endpoint": self._settings.base_url,
            "served_model": said["served_model"],
            "prompt": question.prompt,
            "reply": said["reply"],
            "correct": judgment.correct,
            "extracted": judgment.extracted,
            "error": judgment.error,
            "attempts": attempts,
            "tokens": said["tokens"],
            "seconds": round(time.monotonic() - started, 3),
        }

    def _body(self, prompt: str) -> Json:
        s = self._settings
        body = {"model": s.model, "messages": [{"role": "user", "content": prompt}]}
        sampling = {"max_completion_tokens": s.max_tokens, "temperature": s.temperature}
        return body | {name: value for name, value in sampling.items() if value is not None}
