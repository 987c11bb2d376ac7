"""Numbers by token from each engine: against plain transformers, and what packs and unpacks them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_model
from support import write_jsonl

from bitparity.engines.contract import Engine
from bitparity.engines.readings import arrays_of, pack, unpack
from bitparity.engines.replay_engine import ReplayEngine
from bitparity.records import Reading, Request, Sample, Sampling

TEXTS = {"a": ((1, 20, 30), (40, 50, 60, 70)), "b": ((1, 99), (100, 101)), "c": ((1, 7, 8, 9), (11, 12, 13, 14, 15))}


def requests(reading: Reading, batch: int = 1) -> list[Request]:
    return [
        Request("b", name, 0, Sampling(1), 0, scored=(pair,), batch=number // batch, reading=reading)
        for number, (name, pair) in enumerate(TEXTS.items())
    ]


def read(engine: Engine, asked: Iterable[Request]) -> dict[str, Sample]:
    async def source() -> AsyncIterator[Request]:
        for request in asked:
            yield request

    async def collect() -> dict[str, Sample]:
        return {sample.item: sample async for sample in engine.stream(source())}

    return asyncio.run(collect())


def disturbed(folder: Path, target: Path, scale: float) -> Path:
    """A copy of a model with noise on one layer's weights; NaN noise makes NaN weights."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, target)
    torch.manual_seed(1)
    path = target / "model.safetensors"
    tensors = load_file(path)
    name = "model.layers.1.mlp.down_proj.weight"
    tensors[name] = tensors[name] + scale * torch.randn_like(tensors[name])
    save_file(tensors, path, metadata={"format": "pt"})
    return target


def plain_scores(folder: Path, context: tuple[int, ...], answer: tuple[int, ...]) -> np.ndarray:
    """Log-probabilities of the bare model, in float64, of shape (answer, vocabulary)."""
    import torch
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(str(folder))
    with torch.inference_mode():
        logits = model(torch.tensor([context + answer])).logits[0, len(context) - 1 : -1]
    return torch.log_softmax(logits.double(), dim=-1).numpy()


@pytest.fixture(scope="module")
def other(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disturbed(tiny, tmp_path_factory.mktemp("disturbed") / "model", 0.05)


@pytest.mark.parametrize("batch", [1, 3])
def test_transformers_compares_the_whole_vocabulary(tiny: Path, other: Path, batch: int) -> None:
    from bitparity.engines.transformers_engine import TransformersEngine

    baseline = tiny_model.variant(tiny).model_dump(mode="json")
    samples = read(TransformersEngine(tiny_model.variant(other)), requests(Reading(20, baseline), batch))
    for name, (context, answer) in TEXTS.items():
        arrays = arrays_of(samples[name])
        base, own = (plain_scores(folder, context, answer) for folder in (tiny, other))
        exact = (np.exp(base) * (base - own)).sum(axis=1)
        assert exact.mean() > 1e-3
        assert arrays["divergence"] == pytest.approx(exact, abs=1e-6)
        at = np.arange(len(answer)), list(answer)
        assert arrays["chosen"] == pytest.approx(own[at], abs=1e-5)
        assert arrays["base_chosen"] == pytest.approx(base[at], abs=1e-5)
        assert (arrays["ids"][:, 0] == own.argmax(axis=1)).all()
        assert arrays["logprobs"] == pytest.approx(-np.sort(-own, axis=1)[:, :20], abs=1e-5)


def test_the_same_model_is_at_zero_and_nan_stays_nan(tiny: Path, tmp_path: Path) -> None:
    from bitparity.engines.transformers_engine import TransformersEngine

    baseline = tiny_model.variant(tiny).model_dump(mode="json")
    same = disturbed(tiny, tmp_path / "same", 0.0)
    for sample in read(TransformersEngine(tiny_model.variant(same)), requests(Reading(5, baseline))).values():
        assert arrays_of(sample)["divergence"].max() == 0
    broken = disturbed(tiny, tmp_path / "broken", float("nan"))
    for sample in read(TransformersEngine(tiny_model.variant(broken)), requests(Reading(5, baseline))).values():
        assert np.isnan(arrays_of(sample)["divergence"]).all()


def test_an_answer_that_does_not_fit_is_told(tiny: Path) -> None:
    from bitparity.engines.transformers_engine import TransformersEngine

    long = replace(requests(Reading(5))[0], scored=(((1,) * 200, (5,) * 100),))
    (sample,) = read(TransformersEngine(tiny_model.variant(tiny)), [long]).values()
    assert sample.finish == "error"
    assert sample.arrays is None


def test_recordings_give_what_was_recorded(tmp_path: Path) -> None:
    arrays = {"ids": np.array([[3, 1]], np.int32), "logprobs": np.zeros((1, 2), np.float32), "chosen": np.zeros(1)}
    import base64

    rows = [{"item": "a", "text": "x", "arrays": base64.b64encode(pack(arrays)).decode()}, {"item": "b", "text": "y"}]
    engine = ReplayEngine(tiny_model.variant(write_jsonl(tmp_path / "r.jsonl", rows), "replay"))
    samples = read(engine, requests(Reading(2))[:2])
    assert arrays_of(samples["a"])["ids"].tolist() == [[3, 1]]
    assert "no recorded numbers by token" in str(samples["b"].error)
    written = read(engine, [Request("b", "a", 0, Sampling(1), 0)])
    assert written["a"].arrays is None


@pytest.mark.parametrize("content", [b"", b"no arrays", pack({"a": np.zeros(3)})[:-30]])
def test_broken_arrays_are_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="no arrays"):
        unpack(content)


def test_flat_log_probabilities_become_arrays() -> None:
    from bitparity.engines.vllm_engine import flat_arrays
    from bitparity.errors import EngineError

    rows = [[], [7, 1, 2], [8, 3, 4], [9, 9, 5]]  # the first position of a prompt has none
    flat = SimpleNamespace(start_indices=[0, 0, 3, 6], end_indices=[0, 3, 6, 9])
    flat.token_ids = [token for row in rows for token in row]
    flat.logprobs = [-0.1 * number for number in range(9)]
    ids, logprobs = flat_arrays(flat, context=2, answer=2, width=2)
    assert ids.tolist() == [[8, 3, 4], [9, 9, 5]]
    assert logprobs == pytest.approx(np.array([[-0.3, -0.4, -0.5], [-0.6, -0.7, -0.8]]))
    with pytest.raises(EngineError, match="6 log-probabilities of 2 tokens"):
        flat_arrays(flat, context=2, answer=2, width=3)


@pytest.mark.parametrize("step", [1, 3, 100])
def test_logits_in_slices_are_the_same(step: int) -> None:
    torch = pytest.importorskip("torch")
    from bitparity.engines.vllm_worker import in_slices

    class Model(torch.nn.Module):  # type: ignore[misc,name-defined]
        largest = 0

        def compute_logits(self, states: Any) -> Any:
            self.largest = max(self.largest, len(states))
            return states @ torch.arange(12.0).reshape(3, 4)

    class Sampler:
        def compute_logprobs(self, logits: Any) -> Any:
            return logits.log_softmax(-1)

        def gather_logprobs(self, scores: Any, count: int, targets: Any) -> Any:
            values, ids = scores.topk(count, dim=-1)
            return ids, values, targets + 0, None

    runner = SimpleNamespace(model=Model(), sampler=Sampler())

    def whole(states: Any) -> Any:
        scores = runner.sampler.compute_logprobs(runner.model.compute_logits(states))
        return runner.sampler.gather_logprobs(scores, 2, torch.arange(len(states)))

    states = torch.randn(7, 3)
    expected, runner.model.largest = whole(states), 0
    found = in_slices(runner, whole, step)(states)
    assert runner.model.largest == min(step, 7)
    assert [torch.equal(one, other) for one, other in zip(found[:3], expected[:3], strict=True)] == [True] * 3
    assert found[3] is None
    assert torch.equal(whole(states)[0], expected[0])  # and nothing of it stays
