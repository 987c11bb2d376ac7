"""vLLM on a few real items: `BITPARITY_TEST_MODEL=path/to/a/small/instruct/model pytest -m vllm`.

Needs an environment with vLLM, like the one that tools/install_vllm_cpu.sh makes. On the CPU set
VLLM_CPU_KVCACHE_SPACE=1 and VLLM_CPU_OMP_THREADS_BIND=nobind.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_model
import vllm_names

from bitparity.distance.figures import estimated
from bitparity.doctor.vllm import VLLM, ask_vllm
from bitparity.engines.host import EngineProcess
from bitparity.engines.readings import DRAWN, Arrays, arrays_of, named_text
from bitparity.engines.watchdog import members
from bitparity.errors import EngineError, ModelError
from bitparity.records import Prompt, Reading, Request, Sample, Sampling

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
    pytest.mark.skipif(not os.environ.get("BITPARITY_TEST_MODEL"), reason="BITPARITY_TEST_MODEL names no model folder"),
]

GREEDY = Sampling(max_tokens=16)
WARM = Sampling(max_tokens=16, temperature=1.2, top_p=0.95, top_k=50)
# on the CPU gpu_memory_utilization is a share of the main memory, which others use too
ENGINE = {
    "max_model_len": 512,
    "max_num_seqs": 8,
    "max_num_batched_tokens": 512,
    "enforce_eager": True,
    "gpu_memory_utilization": 0.3,
}


@pytest.mark.filterwarnings("ignore")  # of what vLLM imports
def test_the_installed_vllm_has_every_name_that_is_used() -> None:
    from vllm.engine.arg_utils import EngineArgs
    from vllm.sampling_params import SamplingParams

    for module, names in vllm_names.IMPORTED.items():
        found = importlib.import_module(module)
        for name in names:
            assert hasattr(found, name) or importlib.util.find_spec(f"{module}.{name}"), f"{module}.{name}"
    assert set(EngineArgs.__dataclass_fields__) >= vllm_names.ENGINE_ARGUMENTS
    assert set(SamplingParams.__struct_fields__) >= vllm_names.SAMPLING_VALUES


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(os.environ["BITPARITY_TEST_MODEL"])


@pytest.fixture(scope="module")
def requests(folder: Path) -> list[Request]:
    from bitparity.exam.rendering import Renderer

    renderer = Renderer(folder)
    question = Prompt(messages=({"role": "user", "content": "Write the numbers from 1 to 9, separated by commas."},))
    ids = renderer.render(question, tiny_model.protocol()).token_ids
    choices = renderer.encode("The capital of France is", (" Paris", " London", " green and blue"))
    base = Request("b", "greedy", 0, GREEDY, 1, ids)
    return [
        base,
        replace(base, item="stop", sampling=replace(GREEDY, stop=("never", "2"))),
        replace(base, item="reasoning", sampling=replace(GREEDY, stop=("4", "1")), reasoning_end="2"),
        *(replace(base, item=f"warm{n}", sampling=WARM, seed=n // 2) for n in range(6)),
        replace(base, item="long", sampling=Sampling(max_tokens=512)),
        replace(base, item="scored", token_ids=None, scored=choices.scored),
        replace(base, item="read", token_ids=None, scored=(choices.scored or ())[2:], reading=Reading(5)),
    ]


@pytest.fixture(scope="module")
def engine(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    log = tmp_path_factory.mktemp("vllm") / "log"
    with EngineProcess(tiny_model.variant(folder, "vllm", **ENGINE), log) as process:
        yield process


@pytest.fixture(scope="module")
def samples(engine: EngineProcess, requests: list[Request]) -> dict[str, Sample]:
    return {s.item: s for burst in engine.run(requests) for s in burst}


def test_every_request_is_answered_once(samples: dict[str, Sample], requests: list[Request]) -> None:
    assert sorted(samples) == sorted(r.item for r in requests)
    assert samples["greedy"].tokens <= GREEDY.max_tokens
    assert samples["greedy"].text


def test_a_stop_string_cuts_before_itself(samples: dict[str, Sample]) -> None:
    whole = samples["greedy"].text
    if "2" not in whole:
        pytest.skip(f"this model does not count: {whole!r}")
    assert (samples["stop"].text, samples["stop"].finish) == (whole.partition("2")[0], "stop")
    assert samples["stop"].tokens < samples["greedy"].tokens


def test_no_stop_string_inside_the_reasoning(samples: dict[str, Sample]) -> None:
    head, mark, tail = samples["greedy"].text.partition("2")
    cut = min((tail.partition(s)[0] for s in ("4", "1")), key=len)
    assert samples["reasoning"].text == head + mark + cut


def test_the_seed_decides_a_draw(samples: dict[str, Sample]) -> None:
    texts = [samples[f"warm{n}"].text for n in range(6)]
    assert texts[0::2] == texts[1::2]
    assert len(set(texts)) > 1


def test_what_does_not_fit_is_an_error(samples: dict[str, Sample]) -> None:
    assert samples["long"].finish == "error"
    assert "max_tokens 512 do not fit into the model's 512 tokens" in (samples["long"].error or "")


def test_a_core_that_the_kernel_kills_is_told_as_such(folder: Path, requests: list[Request], tmp_path: Path) -> None:
    long = replace(requests[0], sampling=Sampling(max_tokens=400))
    process = EngineProcess(tiny_model.variant(folder, "vllm", **ENGINE), tmp_path / "log")
    with process:
        group = process._process.pid if process._process is not None else 0
        (core,) = [pid for pid in members(group) if b"EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        threading.Timer(0.3, os.kill, (core, signal.SIGKILL)).start()
        with pytest.raises(EngineError, match="its process was killed by signal 9") as caught:
            list(process.run([replace(long, item=f"long{n}") for n in range(64)]))
    assert caught.value.out_of_memory
    assert caught.value.again


def test_facts_tell_what_runs(engine: EngineProcess) -> None:
    facts = engine.facts
    assert facts["engine"] == "vllm"
    assert facts["linear_kernels"]
    assert facts["attention_backend"]
    assert facts["max_model_len"] == 512
    assert facts["kv_cache_dtype"] != "auto"


OTHERS_WARNINGS = pytest.mark.filterwarnings("ignore")  # what vLLM's import says of torch, in this process


@OTHERS_WARNINGS
def test_only_variables_that_vllm_knows_are_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    from bitparity.engines.vllm_engine import _variables

    monkeypatch.setenv("VLLM_S3_PASS", "hidden")
    monkeypatch.setenv("VLLM_API_KEY", "hidden")
    monkeypatch.setenv("VLLM_USE_DEEP_GEMM", "0")
    found = _variables()
    assert (found["VLLM_S3_PASS"], found["VLLM_API_KEY"], found["VLLM_USE_DEEP_GEMM"]) == (None, None, "0")


@OTHERS_WARNINGS
def test_what_is_sent_is_told_whole(requests: list[Request]) -> None:
    from bitparity.engines.vllm_engine import VllmEngine

    engine = VllmEngine.__new__(VllmEngine)
    engine._ends = [2]
    by_item = {request.item: request for request in requests}
    warm = engine.sent(by_item["warm3"])
    assert {key: warm[key] for key in ("n", "seed", "top_k", "frequency_penalty", "stop_token_ids")} == {
        "n": 1,
        "seed": 1,
        "top_k": 50,
        "frequency_penalty": 0.0,
        "stop_token_ids": [2],
    }
    assert engine.sent(by_item["reasoning"])["stop"] == []
    assert engine.sent(by_item["scored"])["prompt_logprobs"] == 0


def test_log_likelihoods_agree_with_transformers(
    samples: dict[str, Sample], requests: list[Request], folder: Path, tmp_path: Path
) -> None:
    scored = [r for r in requests if r.item == "scored"]
    with EngineProcess(tiny_model.variant(folder), tmp_path / "log") as process:
        (reference,) = [s for burst in process.run(scored) for s in burst]
    ours, theirs = samples["scored"].logprobs or (), reference.logprobs or ()
    assert len(ours) == len(theirs) == 3
    assert max(range(3), key=lambda n: ours[n][0]) == max(range(3), key=lambda n: theirs[n][0])
    for (a, _), (b, _) in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=0.03, abs=0.15)  # two engines in bfloat16


def test_a_reading_tells_of_every_token_of_the_answer(samples: dict[str, Sample], requests: list[Request]) -> None:
    arrays = arrays_of(samples["read"])
    ((_, answer),) = next(r.scored for r in requests if r.item == "read") or ()
    assert arrays["ids"].shape == arrays["logprobs"].shape == (len(answer), 5)
    assert (np.diff(arrays["logprobs"], axis=1) <= 0).all()
    assert (arrays["logprobs"][:, 0] >= arrays["chosen"]).all()
    assert samples["scored"].logprobs is not None
    assert float(arrays["chosen"].sum()) == pytest.approx(samples["scored"].logprobs[2][0], abs=0.2)  # other batches


@pytest.fixture(scope="module")
def pairs(folder: Path) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(context, answer) of some texts."""
    from bitparity.exam.rendering import Renderer

    renderer = Renderer(folder)
    texts = [" ".join(str(n * step) for n in range(60)) for step in (1, 3, 7)] + [
        "The train to the coast was late. " * 40
    ]
    return [pair for text in texts for pair in renderer.encode(text[:9], (text[9:],)).scored or ()]


def read(process: EngineProcess, pairs: list[Any], readings: list[Reading]) -> list[Arrays]:
    requests = [
        Request("b", str(number), 0, Sampling(1), 0, scored=(pair,), batch=number, reading=reading)
        for number, (pair, reading) in enumerate(zip(pairs, readings, strict=True))
    ]
    found = {s.item: arrays_of(s) for burst in process.run(requests) for s in burst}
    return [found[request.item] for request in requests]


def test_drawn_and_named_tokens_are_told_as_transformers_tells_them(
    engine: EngineProcess, pairs: list[Any], folder: Path, tmp_path: Path
) -> None:
    """vLLM's own draws, named to transformers and to vLLM itself; with several answers under way."""
    first = read(engine, pairs, [Reading(20, drawn=DRAWN)] * len(pairs))
    names = [Reading(20, named=named_text(each)) for each in first]
    again = read(engine, pairs, names)
    with EngineProcess(tiny_model.variant(folder), tmp_path / "log") as process:
        theirs = read(process, pairs, names)
    for base, own, other, (_, answer) in zip(first, again, theirs, pairs, strict=True):
        assert base["drawn_ids"].shape == (len(answer), DRAWN)
        assert not (base["drawn_ids"][:, :, None] == base["ids"][:, None, :]).any()
        assert (base["rest"] >= base["drawn"].max(axis=1) - 1e-4).all()
        both = np.concatenate([base["logprobs"], base["drawn"]], axis=1)
        assert np.median(np.abs(own["named"] - both)) < 0.05  # the same model in other batches
        assert np.median(np.abs(other["named"] - both)) < 0.1  # two engines in bfloat16
        assert np.median(np.abs(other["rest"] - base["rest"])) < 0.1
        mass = np.exp(base["logprobs"].astype(np.float64)).sum(axis=1) + np.exp(base["rest"].astype(np.float64))
        assert mass == pytest.approx(1, abs=1e-5)


def test_the_estimate_is_the_exact_divergence_of_transformers(
    engine: EngineProcess, pairs: list[Any], folder: Path, tmp_path: Path
) -> None:
    """With so many draws that chance leaves less than what is asked, on a model with one layer disturbed."""
    import torch
    from safetensors.torch import load_file, save_file

    other = shutil.copytree(folder, tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    weight = tensors["model.layers.9.mlp.down_proj.weight"]
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * weight.float().std()
    tensors["model.layers.9.mlp.down_proj.weight"] = (weight.float() + noise).to(weight.dtype)
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    first = read(engine, pairs, [Reading(20, drawn=200)] * len(pairs))
    with EngineProcess(tiny_model.variant(other, "vllm", **ENGINE), tmp_path / "vllm.log") as process:
        told = read(process, pairs, [Reading(20, named=named_text(each)) for each in first])
    with EngineProcess(tiny_model.variant(other), tmp_path / "log") as process:
        beside = tiny_model.variant(folder).model_dump(mode="json")
        exact = np.concatenate(
            [each["divergence"] for each in read(process, pairs, [Reading(20, beside)] * len(pairs))]
        )
    parts = [estimated(base, own) for base, own in zip(first, told, strict=True)]
    assert np.concatenate([found.divergence for found, _ in parts]).mean() == pytest.approx(exact.mean(), rel=0.02)
    assert np.concatenate([bound for _, bound in parts]).mean() < 0.95 * exact.mean()


def test_batch_invariance_is_refused_on_the_cpu(folder: Path, tmp_path: Path) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a device that can do it")
    variant = tiny_model.variant(folder, "vllm", **ENGINE, batch_invariant=True)
    with pytest.raises(ModelError, match="needs a CUDA device"), EngineProcess(variant, tmp_path / "log"):
        pass


def test_the_doctors_tables_are_those_of_the_vllm_that_is_installed() -> None:
    found = ask_vllm()
    assert found is not None
    assert found.version.startswith(VLLM.read_in), "read vLLM again, and vllm.toml with it"
    assert {*found.quantizations} == {*VLLM.quantizations, *VLLM.unchecked_quantizations}
    assert {*found.cache_kinds} - {"auto"} == {*VLLM.cache_bytes}
    share = "from vllm.config.cache import CacheConfig; print(CacheConfig().gpu_memory_utilization)"
    asked = subprocess.run([sys.executable, "-c", share], check=True, stdout=subprocess.PIPE, text=True)
    assert float(asked.stdout.split()[-1]) == VLLM.gpu_memory_utilization
    assert found.kernels["INT8"] == "CPUInt8ScaledMMLinearKernel"  # of the CPU build
