"""The transformers engine on a tiny random model, against plain transformers and against lm-eval."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_model

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from bitparity.engines.scheduling import fixed_batches
from bitparity.engines.transformers_engine import TransformersEngine
from bitparity.engines.transformers_loading import device_name
from bitparity.errors import ModelError, UserInputError
from bitparity.exam.rendering import Renderer
from bitparity.records import Request, Sample, Sampling

GREEDY = Sampling(max_tokens=12)
WARM = Sampling(max_tokens=12, temperature=1.0, top_p=0.95, top_k=40, min_p=0.01)
TEXTS = ["a", "What is 2 + 3?", "The quick brown fox jumps over the lazy dog.", "x y z", "Zebra!", "12345"]


@pytest.fixture(scope="module")
def engine(tiny: Path) -> TransformersEngine:
    return TransformersEngine(tiny_model.variant(tiny))


@pytest.fixture(scope="module")
def renderer(tiny: Path) -> Renderer:
    return Renderer(tiny)


def request(renderer: Renderer, text: str, sampling: Sampling = GREEDY, **values: Any) -> Request:
    ids = renderer.encode(text).token_ids
    return replace(Request("b", text, 0, sampling, 7, ids), **values)


def run(engine: TransformersEngine, requests: Iterable[Request]) -> dict[tuple[str, int], Sample]:
    async def source() -> AsyncIterator[Request]:
        for r in requests:
            yield r

    async def collect() -> list[Sample]:
        return [s async for s in engine.stream(source())]

    samples = asyncio.run(collect())
    found = {(s.item, s.sample): s for s in samples}
    assert len(found) == len(samples)
    return found


def plain_generate(folder: Path, ids: Iterable[int], count: int) -> list[int]:
    """Greedy tokens of the bare model, one forward pass over everything for each."""
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(str(folder))
    row = list(ids)
    start = len(row)
    with torch.inference_mode():
        for _ in range(count):
            row.append(int(model(torch.tensor([row])).logits[0, -1].argmax()))
    return row[start:]


def copy_with_generation_config(tiny: Path, folder: Path, **generation: Any) -> Path:
    shutil.copytree(tiny, folder)
    (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    return folder


def test_greedy_equals_the_bare_model(engine: TransformersEngine, renderer: Renderer, tiny: Path) -> None:
    found = run(engine, [request(renderer, t) for t in TEXTS])
    for text in TEXTS:
        tokens = plain_generate(tiny, renderer.encode(text).token_ids, GREEDY.max_tokens)
        assert 2 not in tokens  # no EOS by chance
        sample = found[text, 0]
        assert sample.text == renderer.tokenizer.decode(tokens, skip_special_tokens=True)
        assert (sample.finish, sample.tokens) == ("length", GREEDY.max_tokens)
        assert sample.prompt_tokens == len(text) + 1


def test_an_end_token_ends_and_counts(renderer: Renderer, tiny: Path, tmp_path: Path) -> None:
    ids = renderer.encode(TEXTS[1]).token_ids
    tokens = plain_generate(tiny, ids, 12)
    end = next(n for n in range(3, 12) if tokens[n] not in tokens[:n])
    folder = copy_with_generation_config(tiny, tmp_path / "m", eos_token_id=[2, tokens[end]])
    ending = TransformersEngine(tiny_model.variant(folder))
    assert tokens[end] in ending.facts()["end_token_ids"]
    sample = run(ending, [request(renderer, t) for t in TEXTS])[TEXTS[1], 0]
    assert (sample.finish, sample.tokens) == ("stop", end + 1)


def test_the_chat_turns_end_is_an_end_token(engine: TransformersEngine) -> None:
    assert engine.facts()["end_token_ids"] == [2, tiny_model.SPECIAL.index("<|end|>")]


def test_budgets_and_stop_strings_are_each_rows_own(engine: TransformersEngine, renderer: Renderer) -> None:
    whole = run(engine, [request(renderer, t) for t in TEXTS])
    stop = {t: whole[t, 0].text[4:6] for t in TEXTS[:3]}
    mixed = [request(renderer, t, replace(GREEDY, stop=(stop[t], "never"))) for t in TEXTS[:3]]
    mixed += [request(renderer, t, replace(GREEDY, max_tokens=n + 2)) for n, t in enumerate(TEXTS[3:])]
    found = run(engine, mixed)
    for text in TEXTS[:3]:
        sample = found[text, 0]
        assert sample.finish == "stop"
        assert sample.text == whole[text, 0].text.partition(stop[text])[0]
        assert sample.tokens < GREEDY.max_tokens
    for n, text in enumerate(TEXTS[3:]):
        assert (found[text, 0].finish, found[text, 0].tokens) == ("length", n + 2)
        assert whole[text, 0].text.startswith(found[text, 0].text.rstrip("\ufffd"))


def test_what_is_sent_is_told_whole(engine: TransformersEngine, renderer: Renderer) -> None:
    asked = request(renderer, TEXTS[0], replace(GREEDY, temperature=0.5, stop=("x",)), seed=5)
    sent = engine.sent(asked)
    assert sent is not None
    assert (sent["seed"], sent["n"], sent["stop"], sent["frequency_penalty"]) == (5, 1, ("x",), 0.0)
    assert sent["stop_token_ids"] == engine.facts()["end_token_ids"]
    assert engine.sent(replace(asked, scored=(((1,), (2,)),))) is None


def test_the_tokenizer_that_is_used_is_the_one_that_is_told(tiny: Path, tmp_path: Path) -> None:
    own = tiny_model.build_tokenizer(tmp_path / "tok", template="another")
    asked = tiny_model.variant(tiny).model_copy(update={"tokenizer": str(own)})
    told = TransformersEngine(asked).facts()["model"]
    assert told["chat_template_sha256"] == hashlib.sha256(b"another").hexdigest()
    assert told["tokenizer"]["path"] == str(own)


def test_no_stop_string_inside_the_reasoning(engine: TransformersEngine, renderer: Renderer) -> None:
    text = TEXTS[2]
    whole = run(engine, [request(renderer, text)])[text, 0].text
    mark, stop = whole[5], whole[2]
    expected = whole.index(mark)
    sampling = replace(GREEDY, stop=(stop,))
    never = run(engine, [request(renderer, text, sampling, reasoning_end="never there")])[text, 0]
    assert (never.text, never.finish) == (whole, "length")
    sample = run(engine, [request(renderer, text, sampling, reasoning_end=mark)])[text, 0]
    rest = whole[expected + 1 :]
    assert sample.text == whole[: expected + 1] + rest.partition(stop)[0]


def test_a_draw_depends_on_its_seed_and_on_no_neighbour(engine: TransformersEngine, renderer: Renderer) -> None:
    rows = [request(renderer, t, WARM, sample=k, seed=100 * k + n) for n, t in enumerate(TEXTS) for k in range(2)]
    together = run(engine, rows)
    alone = {k: v for row in rows for k, v in run(engine, [row]).items()}
    backwards = run(engine, reversed(rows))
    texts = {k: s.text for k, s in together.items()}
    assert texts == {k: s.text for k, s in alone.items()} == {k: s.text for k, s in backwards.items()}
    assert any(texts[t, 0] != texts[t, 1] for t in TEXTS)


def test_nothing_of_the_checkpoints_generation_config_leaks(
    engine: TransformersEngine, renderer: Renderer, tiny: Path, tmp_path: Path
) -> None:
    folder = copy_with_generation_config(
        tiny,
        tmp_path / "m",
        eos_token_id=2,
        do_sample=True,
        temperature=9.0,
        top_k=3,
        repetition_penalty=4.0,
        no_repeat_ngram_size=1,
        min_new_tokens=30,
        suppress_tokens=list(range(100, 200)),
        num_beams=3,
    )
    other = TransformersEngine(tiny_model.variant(folder))
    rows = [request(renderer, t, s, sample=k) for t in TEXTS[:3] for k, s in enumerate((GREEDY, WARM))]
    assert {k: s.text for k, s in run(other, rows).items()} == {k: s.text for k, s in run(engine, rows).items()}


def test_a_presence_penalty_falls_on_written_tokens_only(renderer: Renderer, tiny: Path) -> None:
    strong = replace(GREEDY, presence_penalty=2.0)
    engine = TransformersEngine(tiny_model.variant(tiny))
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(str(tiny))
    row = list(renderer.encode(TEXTS[0]).token_ids)
    start = len(row)
    with torch.inference_mode():
        for _ in range(strong.max_tokens):
            logits = model(torch.tensor([row])).logits[0, -1]
            for token in set(row[start:]):
                logits[token] -= 2.0
            row.append(int(logits.argmax()))
    samples = run(engine, [request(renderer, t, strong) for t in TEXTS])
    assert samples[TEXTS[0], 0].text == renderer.tokenizer.decode(row[start:], skip_special_tokens=True)


def test_a_repetition_penalty_spares_the_padding(engine: TransformersEngine, renderer: Renderer) -> None:
    strong = replace(GREEDY, repetition_penalty=1.5)
    together = run(engine, [request(renderer, t, strong) for t in TEXTS])
    for text in TEXTS:
        assert run(engine, [request(renderer, text, strong)])[text, 0].text == together[text, 0].text


def test_a_resumed_run_computes_the_same(tiny_bf16: Path) -> None:
    engine = TransformersEngine(tiny_model.variant(tiny_bf16))
    renderer = Renderer(tiny_bf16)
    everything = [request(renderer, f"{n} {t}", s, seed=n) for n in range(4) for t in TEXTS for s in (GREEDY, WARM)]
    everything = [replace(r, sample=n % 2) for n, r in enumerate(everything)]
    whole = run(engine, fixed_batches(everything, 4, set()))
    done = {("b", *key) for n, key in enumerate(whole) if n % 3}
    resumed = run(engine, fixed_batches(everything, 4, done))
    assert len(resumed) >= len(whole) - len(done)
    assert {k: s.text for k, s in resumed.items()} == {k: whole[k].text for k in resumed}


def scored_request(renderer: Renderer, context: str, continuations: Iterable[str]) -> Request:
    rendered = renderer.encode(context, tuple(continuations))
    return Request("b", context, 0, GREEDY, 0, None, rendered.scored)


CHOICES = ("A", " B", "carrot and more", "D")


def test_log_likelihoods_equal_the_bare_model(engine: TransformersEngine, renderer: Renderer, tiny: Path) -> None:
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(str(tiny))
    rows = [scored_request(renderer, t, CHOICES) for t in [*TEXTS, ""]]
    found = run(engine, rows)
    for row in rows:
        for (context, continuation), (total, greedy) in zip(
            row.scored or (), found[row.item, 0].logprobs or (), strict=True
        ):
            with torch.inference_mode():
                logits = model(torch.tensor([context + continuation])).logits[0].log_softmax(-1)
            at = range(len(context) - 1, len(context) + len(continuation) - 1)
            expected = sum(float(logits[p, t]) for p, t in zip(at, continuation, strict=True))
            assert total == pytest.approx(expected, abs=1e-4)
            assert greedy == all(int(logits[p].argmax()) == t for p, t in zip(at, continuation, strict=True))


def test_a_greedy_continuation_is_greedy(engine: TransformersEngine, renderer: Renderer, tiny: Path) -> None:
    ids = renderer.encode("Zebra!").token_ids
    written = tuple(plain_generate(tiny, ids, 4))
    row = Request("b", "z", 0, GREEDY, 0, None, ((ids, written), (ids, (*written[:-1], written[-1] ^ 1))))
    assert [greedy for _, greedy in run(engine, [row])["z", 0].logprobs or ()] == [True, False]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_log_likelihoods_equal_lm_eval(engine: TransformersEngine, renderer: Renderer, tiny: Path) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=str(tiny), device="cpu", dtype="float32", batch_size=2)
    contexts = [*TEXTS, "ends in spaces  ", "<s>has its own BOS", ""]
    arguments = [(context, choice) for context in contexts for choice in CHOICES]
    theirs = lm.loglikelihood(
        [Instance("loglikelihood", {}, pair, n) for n, pair in enumerate(arguments)], disable_tqdm=True
    )
    found = run(engine, [scored_request(renderer, c, CHOICES) for c in contexts])
    ours = [pair for c in contexts for pair in found[c, 0].logprobs or ()]
    assert [t for t, _ in ours] == pytest.approx([t for t, _ in theirs], abs=1e-4)
    assert [g for _, g in ours] == [g for _, g in theirs]


def test_what_does_not_fit_is_an_error_by_name(engine: TransformersEngine, renderer: Renderer) -> None:
    long = "x" * 250
    found = run(
        engine,
        [
            request(renderer, long),
            request(renderer, "a"),
            scored_request(renderer, "y" * 254, ["ab"]),
            scored_request(renderer, "z" * 254, ["abc"]),
            Request("b", "empty", 0, GREEDY, 0, ()),
        ],
    )
    assert found[long, 0].error == "251 prompt tokens and max_tokens 12 do not fit into the model's 256 tokens"
    assert found["a", 0].finish == "length"
    assert found["y" * 254, 0].logprobs is not None  # the last token is predicted, not read
    assert found["z" * 254, 0].finish == "error"
    assert found["empty", 0].error == "the prompt has no tokens"


def test_a_foreign_tokenizer_is_named(engine: TransformersEngine) -> None:
    with pytest.raises(ModelError, match=r"token 99999.*another model's"):
        run(engine, [Request("b", "q", 0, GREEDY, 0, (1, 99999))])


def test_facts(tiny_bf16: Path) -> None:
    facts = TransformersEngine(tiny_model.variant(tiny_bf16, max_model_len=128)).facts()
    assert facts["dtype"] == "bfloat16"
    assert facts["max_model_len"] == 128
    assert facts["quantization"] is None
    assert sum(facts["linear_kernels"].values()) == 15
    assert facts["model"]["weights"]["sha256"]
    assert json.loads(json.dumps(facts)) == facts


@pytest.mark.parametrize(
    "setting", [{"quantization": "fp8"}, {"kv_cache_dtype": "fp8"}, {"linear_backend": "emulation"}]
)
def test_settings_of_another_engine_are_refused(tiny: Path, setting: dict[str, str]) -> None:
    with pytest.raises(UserInputError, match="not available in engine kind transformers"):
        TransformersEngine(tiny_model.variant(tiny, **setting))


def test_a_device_that_is_not_there(tiny: Path) -> None:
    with pytest.raises(UserInputError, match="CUDA devices"):
        TransformersEngine(tiny_model.variant(tiny, device="cuda:99"))
    with pytest.raises(UserInputError, match="is no device"):
        TransformersEngine(tiny_model.variant(tiny, device="abacus"))


def test_missing_weights_are_not_made_up(tiny: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny, tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights, like model.layers.1.mlp.up_proj.weight"):
        TransformersEngine(tiny_model.variant(folder))


def test_an_unknown_quantization_is_not_skipped(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "of tomorrow"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"quantized by 'of tomorrow'.*use engine kind vllm"):
        TransformersEngine(tiny_model.variant(folder))


def test_16_bit_products_in_float32_are_rounded_alike(tiny_bf16: Path) -> None:
    from bitparity.engines.transformers_loading import Float32Linear

    torch.manual_seed(1)
    plain = torch.nn.Linear(64, 96).to(torch.bfloat16)
    values = torch.randn(50, 64).to(torch.bfloat16)
    with torch.inference_mode():
        expected = plain(values)
        plain.__class__ = Float32Linear
        plain.weight = torch.nn.Parameter(plain.weight.float())
        plain.bias = torch.nn.Parameter(plain.bias.float())
        got = plain(values)
    assert got.dtype == torch.bfloat16
    # another order of summation moves a value by at most one step of bfloat16
    assert torch.allclose(got.float(), expected.float(), rtol=2**-7, atol=2**-9)
    assert (got == expected).float().mean() > 0.95


def test_a_device_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_name(torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU number {device.index}")
    assert device_name(torch.device("cuda:1")) == "GPU number 1"
