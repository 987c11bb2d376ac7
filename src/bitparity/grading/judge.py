"""Judge: a model that says which answers are right. Its judgments are stored beside the samples.

```
judgments/<variant>/<benchmark>.jsonl     append-only: prompt, model, reply, verdict or error
```
A stored verdict is never asked for again. A failure is stored too and tried again by the next run; the key of the
endpoint is in no record and no message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import aclosing, closing
from pathlib import Path

from bitparity.benchmarks.contract import Benchmark, JudgeSettings
from bitparity.benchmarks.judging import Judgment
from bitparity.benchmarks.registry import load_benchmark
from bitparity.engines.judge_client import PARALLEL, Judge
from bitparity.engines.openai_client import read_key, require_httpx
from bitparity.errors import EngineError
from bitparity.grading.rules import Job, completion_of
from bitparity.progress.events import Advance, Events
from bitparity.records import SampleKey
from bitparity.schema import Study
from bitparity.store.jsonl import AppendLog, file_stem, read_lines
from bitparity.store.run import Run


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
    run: Run, benchmark: Benchmark, variant: str, jobs: Iterable[Job], events: Events, *, ask: bool
) -> dict[SampleKey, Judgment]:
    """The judgments on all samples that have an answer; those without one are wrong and not shown to the judge.

    The judge sees the answer, never the reasoning. Empty for a benchmark without a judge.

    With `ask`, the judge is asked for missing judgments. A judge that refuses leaves the rest without a verdict, with
    the reason. Raises UserInputError where the key is not set.
    """
    settings = benchmark.judge
    if settings is None:
        return {}
    path = judgments_path(run, variant, benchmark.spec.name)
    found = stored(path)
    questions: dict[SampleKey, str] = {}  # the prompts about the samples to judge
    for job in jobs:
        sample, key = job.sample, (job.sample.item, job.sample.sample)
        answer = completion_of(sample, job.protocol, job.opened).text
        if sample.finish == "error" or (key in found and found[key].correct is not None):
            continue
        if not answer.strip():
            found[key] = Judgment(False)
        else:
            questions[key] = benchmark.judge_prompt(job.item, answer, sample.sample)
    if ask and questions:
        task = events.task(f"{variant}: judging {benchmark.spec.name}", len(questions), "answers")
        with closing(AppendLog(path, run.write)) as log, task as advance:
            found |= asyncio.run(_ask_all(settings, questions, log, advance))
    return found


async def _ask_all(
    settings: JudgeSettings, questions: Mapping[SampleKey, str], log: AppendLog, advance: Advance
) -> dict[SampleKey, Judgment]:
    """Ask PARALLEL questions at once and store each judgment."""
    found: dict[SampleKey, Judgment] = {}
    places = asyncio.Semaphore(PARALLEL)

    async def ask(judge: Judge, key: SampleKey, prompt: str) -> None:
        async with places:
            judgment, record = await judge.ask(prompt)
        log.append([{"item": key[0], "sample": key[1], **record}])
        found[key] = judgment
        advance(1)

    try:
        async with aclosing(Judge(settings)) as judge:
            await asyncio.gather(*(ask(judge, key, prompt) for key, prompt in questions.items()))
    except EngineError as refusal:
        return dict.fromkeys(questions, Judgment(None, error=str(refusal))) | found
    return found
