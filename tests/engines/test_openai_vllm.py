"""The engine openai against vLLM's own server: `BITPARITY_TEST_MODEL=path/to/a/model pytest -m vllm`.

Needs an environment with vLLM, like the one that tools/install_vllm_cpu.sh makes. On the CPU set
VLLM_CPU_KVCACHE_SPACE=1 and VLLM_CPU_OMP_THREADS_BIND=nobind.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_model

from bitparity.errors import ModelError
from bitparity.exam.rendering import Renderer
from bitparity.records import Prompt, Request, Sample, Sampling, Unrendered
from bitparity.schema import EngineSpec, Variant

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
    pytest.mark.skipif(not os.environ.get("BITPARITY_TEST_MODEL"), reason="BITPARITY_TEST_MODEL names no model folder"),
]

NAME, KEY = "small", "sk-test-only"
LENGTH = 512
GREEDY = Sampling(max_tokens=16)
QUESTION = ({"role": "user", "content": "Write the numbers from 1 to 9, separated by commas."},)
START_SECONDS = 400


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(os.environ["BITPARITY_TEST_MODEL"])


@pytest.fixture(scope="module")
def url(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # what `vllm serve` starts; its command itself looks for a distribution named vllm, and the CPU build has another
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--served-model-name", NAME, "--host", "127.0.0.1", "--port", str(port), "--api-key", KEY]
    command += ["--max-model-len", str(LENGTH), "--max-num-seqs", "8", "--max-num-batched-tokens", "512"]
    command += ["--enforce-eager", "--gpu-memory-utilization", "0.3"]
    log = tmp_path_factory.mktemp("serve") / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(health: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(health, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    pytest.fail(f"vllm serve did not start: {log.read_text(errors='replace')[-2000:]}")


def variant(url: str, tokenizer: Path | None, **engine: Any) -> Variant:
    values = {"base_url": url, "api_key_env": "TEST_KEY", "retries": 1, **engine}
    spec = EngineSpec(kind="openai", dtype="auto", batch_size=1, trust_remote_code=False, **values)
    return Variant(model=NAME, revision=None, tokenizer=tokenizer and str(tokenizer), baseline=True, engine=spec)


def run(given: Variant, *requests: Request) -> tuple[dict[str, Sample], dict[str, Any]]:
    from bitparity.engines.openai_engine import OpenAIEngine

    async def feed() -> AsyncIterator[Request]:
        for request in requests:
            yield request

    async def collect() -> tuple[dict[str, Sample], dict[str, Any]]:
        engine = OpenAIEngine(given)
        try:
            await engine.prepare()
            return {s.item: s async for s in engine.stream(feed())}, engine.facts()
        finally:
            await engine._server.aclose()

    return asyncio.run(collect())


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)


@pytest.fixture(scope="module")
def request_(folder: Path) -> Request:
    ids = Renderer(folder).render(Prompt(messages=QUESTION), tiny_model.protocol()).token_ids
    return Request("b", "greedy", 0, GREEDY, 1, ids, unrendered=Unrendered(QUESTION, None))


def test_tokens_and_chat_give_the_same_greedy_answer(url: str, folder: Path, request_: Request) -> None:
    warm = [
        replace(request_, item=f"warm{n}", seed=n // 2, sampling=Sampling(16, 1.2, 0.95, 50, 0.01, 0.1, 1.05))
        for n in range(4)
    ]
    stop = replace(request_, item="stop", sampling=replace(GREEDY, stop=("2",)))
    long = replace(request_, item="long", sampling=Sampling(LENGTH))
    found, facts = run(variant(url, folder), request_, stop, long, *warm)
    assert facts["version"].startswith("0.")
    assert facts["server"] | {"version": None} == {
        "base_url": url,
        "model": NAME,
        "software": "vllm",
        "root": str(folder),
        "max_model_len": LENGTH,
        "version": None,
    }
    assert facts["endpoints"]["completions"] == "token ids"
    assert facts["exam_tokens_sent"]
    assert facts["sampling_extensions"]
    assert facts["prompt_logprobs"]
    greedy = found["greedy"]
    assert greedy.prompt_tokens == len(request_.token_ids or ())
    assert 0 < greedy.tokens <= GREEDY.max_tokens
    assert found["stop"].text == greedy.text.partition("2")[0]
    assert [found[f"warm{n}"].text for n in (0, 2)] == [found[f"warm{n}"].text for n in (1, 3)]
    assert "do not fit into the model's 512 tokens" in (found["long"].error or "")
    asked, facts = run(variant(url, None), replace(request_, token_ids=None))
    assert facts["endpoints"]["chat/completions"] == "messages"
    assert (asked["greedy"].text, asked["greedy"].prompt_tokens) == (greedy.text, greedy.prompt_tokens)


def test_log_likelihoods_of_the_echoed_prompt(url: str, folder: Path) -> None:
    choices = Renderer(folder).encode("The capital of France is", (" Paris", " London", " green and blue"))
    found, _ = run(variant(url, folder), Request("b", "q", 0, GREEDY, 0, None, choices.scored))
    scores = [total for total, _ in found["q"].logprobs or ()]
    assert len(scores) == 3
    assert max(scores) == scores[0]
    assert all(-60 < score < 0 for score in scores)


def test_what_the_server_refuses_is_told(url: str, request_: Request) -> None:
    long = replace(request_, item="long", token_ids=None, sampling=Sampling(4 * LENGTH))
    found, _ = run(variant(url, None, max_model_len=None), long)
    assert (found["long"].finish, found["long"].error is None) == ("error", False)
    assert str(LENGTH) in (found["long"].error or "")
    with pytest.raises(ModelError, match="has no model 'other'; it serves small"):
        run(variant(url, None).model_copy(update={"model": "other"}), long)
