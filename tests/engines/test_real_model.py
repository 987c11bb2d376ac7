"""The transformers engine on a real small model: `BITPARITY_TEST_MODEL=path/to/model pytest -m slow`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_model

pytest.importorskip("torch")
pytest.importorskip("transformers")

from bitparity.engines.transformers_engine import TransformersEngine
from bitparity.exam.rendering import Renderer
from bitparity.records import Prompt, Request, Sample, Sampling

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("BITPARITY_TEST_MODEL"), reason="BITPARITY_TEST_MODEL names no model folder"),
]

GREEDY = Sampling(max_tokens=16)
QUESTIONS = ["What is 2 + 3?", "Name the capital of France.", "Write 'ab' backwards.", "Is 7 a prime number? Why?"]
CHOICES = (" Paris", " London", " green and blue")


def run(engine: TransformersEngine, requests: list[Request]) -> dict[str, Sample]:
    async def source() -> AsyncIterator[Request]:
        for request in requests:
            yield request

    async def collect() -> dict[str, Sample]:
        return {s.item: s async for s in engine.stream(source())}

    return asyncio.run(collect())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_answers_and_log_likelihoods_equal_transformers_and_lm_eval() -> None:
    folder = Path(os.environ["BITPARITY_TEST_MODEL"])
    renderer = Renderer(folder)
    engine = TransformersEngine(tiny_model.variant(folder, dtype="float32"))
    requests = []
    for question in QUESTIONS:
        prompt = Prompt(messages=({"role": "user", "content": question},))
        ids = renderer.render(prompt, tiny_model.protocol()).token_ids
        requests.append(Request("b", question, 0, GREEDY, 0, ids))
    scored = renderer.encode("The capital of France is", CHOICES).scored
    answers = run(engine, [*requests, replace(requests[0], item="scored", token_ids=None, scored=scored)])

    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=1)
    texts = [renderer.decode(r.token_ids or ()) for r in requests]
    arguments = {"until": [], "max_gen_toks": GREEDY.max_tokens, "do_sample": False, "temperature": 0.0}
    written = lm.generate_until(
        [Instance("generate_until", {}, (t, dict(arguments)), n) for n, t in enumerate(texts)], disable_tqdm=True
    )
    assert [answers[q].text for q in QUESTIONS] == written
    theirs = lm.loglikelihood(
        [Instance("loglikelihood", {}, ("The capital of France is", c), n) for n, c in enumerate(CHOICES)],
        disable_tqdm=True,
    )
    ours = answers["scored"].logprobs or ()
    assert [t for t, _ in ours] == pytest.approx([t for t, _ in theirs], abs=1e-4)
    assert [g for _, g in ours] == [g for _, g in theirs]
