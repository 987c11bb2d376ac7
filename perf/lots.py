"""What filling an engine's places in lots gains: one vLLM engine, the requests and answer lengths of a finished run.

    python perf/lots.py RUN [--engine JSON] [--every 2] [--rounds 2] [--shorter 1]

RUN is a run of one variant, such as perf/gpu_throughput.py makes. Each of its requests, or one in `--every`, is
answered with as many tokens as it was then; the engine loads once and takes the same requests in turn in several ways:
`ahead` submits twice as many as run at once, so that vLLM fills each place as it gets free; `lots` is what bitparity
does; a number is another LOT_COST. Prints JSON lines: seconds and tokens a second of the whole, and the ratio to the
first `ahead`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from gpu_throughput import requests

from bitparity.engines import scheduling, vllm_engine
from bitparity.engines.vllm_engine import sampling_params
from bitparity.records import Request, Sample
from bitparity.schema import Variant
from bitparity.store.run import Run

WAYS = ("ahead", "lots", "1", "4")


async def compare(args: argparse.Namespace) -> None:
    run = Run(args.run)
    asked = as_long(run, requests(args.run)[0][:: args.every], args.shorter)
    (variant,) = run.study().variants.values()
    engine = vllm_engine.VllmEngine.get_ready(with_settings(variant, args.engine))()
    await engine.prepare()
    await answered(engine, [cut(request, 16) for request in asked[:200]], "ahead")
    first = None
    for way in WAYS * args.rounds:
        seconds, tokens = await answered(engine, asked, way)
        rate = tokens / seconds
        first = first or rate
        line = {"way": way, "seconds": round(seconds, 2), "tokens": tokens, "tokens_per_s": round(rate, 1)}
        print(json.dumps({**line, "ratio": round(rate / first, 3)}), flush=True)
    engine.close()


def as_long(run: Run, asked: list[Request], shorter: int) -> list[Request]:
    """The requests with the budgets that their answers took."""
    (name,) = run.study().variants
    found = {bench.name: run.samples(name, bench.name) for bench in run.study().benchmarks}
    return [cut(r, found[r.benchmark][r.item, r.sample].tokens // shorter) for r in asked]


def cut(request: Request, tokens: int) -> Request:
    return replace(request, sampling=replace(request.sampling, max_tokens=max(1, tokens), stop=()))


def with_settings(variant: Variant, settings: dict[str, Any]) -> Variant:
    return variant.model_copy(update={"engine": variant.engine.model_copy(update=settings)})


async def answered(engine: Any, asked: list[Request], way: str) -> tuple[float, int]:
    """(seconds, tokens) of all requests."""

    async def stream() -> AsyncIterator[Request]:
        for request in asked:
            yield request

    begun, tokens = time.perf_counter(), 0
    with patch.object(vllm_engine, "sampling_params", to_the_end), admission(way):
        async for sample in engine.stream(stream()):
            tokens += check(sample)
    return time.perf_counter() - begun, tokens


def to_the_end(request: Request, _: list[int]) -> Any:
    """What vLLM is asked, with nothing that ends an answer before its budget."""
    parameters = sampling_params(request, [])
    parameters.ignore_eos = True
    return parameters


def check(sample: Sample) -> int:
    if sample.finish == "error":
        raise SystemExit(f"{sample.benchmark} {sample.item}: {sample.error}")
    return sample.tokens


def admission(way: str) -> Any:
    """The engine with one way of letting requests in."""
    if way == "ahead":
        return patch.object(vllm_engine, "as_they_end", ahead)
    return patch.object(scheduling, "LOT_COST", scheduling.LOT_COST if way == "lots" else float(way))


def ahead(requests: AsyncIterator[Request], answer: Any, places: int, _: Any) -> AsyncIterator[Sample]:
    return scheduling.as_they_end(requests, answer, 2 * places)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--engine", type=json.loads, default={})
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--shorter", type=int, default=1, help="divide the lengths, for a trial")
    asyncio.run(compare(parser.parse_args()))


if __name__ == "__main__":
    main()
