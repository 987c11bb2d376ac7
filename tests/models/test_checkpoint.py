from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_model import variant

from bitparity.errors import ModelError
from bitparity.models import checkpoint as models
from bitparity.models import identity as identities
from bitparity.models.hub import use_cache_where_unreachable
from bitparity.models.quantization import declared_quantization, stored_precision

CONFIG = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 4096}
FP8 = {
    "quant_method": "compressed-tensors",
    "format": "float-quantized",
    "config_groups": {
        "group_0": {
            "weights": {"type": "float", "num_bits": 8, "strategy": "channel", "dynamic": False},
            "input_activations": {"type": "float", "num_bits": 8, "strategy": "token", "dynamic": True},
        }
    },
    "ignore": ["lm_head"],
}


def checkpoint(folder: Path, config: dict[str, Any] | None = None, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_a_whole_folder_is_taken(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m")
    assert models.resolve_model(variant(folder)) == folder
    assert models.resolve_tokenizer(variant(folder)) == folder


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    def refused(place: Path) -> str:
        with pytest.raises(ModelError) as caught:
            models.resolve_model(variant(place))
        return str(caught.value)

    assert "does not exist" in refused(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    assert "has no config.json" in refused(tmp_path / "empty")
    folder = checkpoint(tmp_path / "m")
    assert "is a file" in refused(folder / "config.json")
    (folder / "model.safetensors").unlink()
    assert "has no weights" in refused(folder)
    (folder / "config.json").write_text("{")
    assert "cannot be read as JSON" in refused(folder)
    (folder / "config.json").write_text("[]")
    assert "holds no JSON object" in refused(folder)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(ModelError, match="lacks 1 of 2 weight files, like model-00002-of-00002"):
        models.resolve_model(variant(folder))


def test_a_missing_shard_is_named_without_an_index(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m")
    for number in (1, 3):
        (folder / f"model-0000{number}-of-00004.safetensors").write_bytes(b"weights")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="lacks 2 of 4 weight files, like model-00002-of-00004"):
        models.resolve_model(variant(folder))
    for number in (2, 4):
        (folder / f"model-0000{number}-of-00004.safetensors").write_bytes(b"weights")
    assert models.resolve_model(variant(folder)) == folder


@pytest.mark.parametrize("config", [True, False])
def test_an_adapter_is_no_model(tmp_path: Path, config: bool) -> None:
    folder = checkpoint(tmp_path / "m")
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"lora")
    assert models.resolve_model(variant(folder)) == folder
    (folder / "model.safetensors").unlink()
    if not config:
        (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"holds an adapter \(LoRA\) and no model: merge it"):
        models.resolve_model(variant(folder))


def test_pointers_of_git_lfs_are_no_weights(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 269060552\n"
    folder = checkpoint(tmp_path / "m", weights=pointer)
    with pytest.raises(ModelError, match=r"pointers of Git LFS, like model.safetensors: .* git lfs pull"):
        models.resolve_model(variant(folder))


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"quant_method": "auto-round", "bits": 4, "data_type": "nv_fp"}, {"NVFP4"}),
        ({"quant_method": "auto-round", "bits": 4, "data_type": "nv_fp4_with_static_gs"}, {"NVFP4"}),
        ({"quant_method": "auto-round", "bits": 4, "data_type": "mx_fp"}, {"MXFP4"}),
        ({"quant_method": "auto-round", "bits": 8, "data_type": "mx_fp"}, {"MXFP8"}),
        ({"quant_method": "auto-round", "bits": 8, "data_type": "fp"}, {"FP8"}),
        ({"quant_method": "auto-round", "bits": 3, "data_type": "int"}, {"INT3"}),
        ({"quant_method": "fp8", "fmt": "e4m3"}, {"FP8"}),
        ({"quant_method": "fp8", "moe_quant_algo": "NVFP4"}, {"FP8", "NVFP4"}),
        ({"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 8}}}, {"INT8"}),
        ({"quant_method": "hqq", "quant_config": {"q": {"nbits": 8}, "k": {"nbits": 2}}}, None),
        ({"quant_method": "modelopt", "quant_algo": "W4A8_NVFP4_FP8"}, {"NVFP4"}),
        ({"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"}, {"INT4"}),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, None),
        ({"quant_method": "torchao", "quant_type": {"default": {}}}, None),
        ({"quant_method": "quark"}, None),
        ({"group_size": 64, "bits": 4}, None),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False}, {"INT8"}),
    ],
)
def test_the_precision_of_stored_weights(tmp_path: Path, declared: dict[str, Any], expected: set[str] | None) -> None:
    folder = checkpoint(tmp_path / "m", CONFIG | {"quantization_config": declared})
    assert stored_precision(declared_quantization(folder)) == expected
    mlx = checkpoint(tmp_path / "mlx", CONFIG | {"quantization": {"group_size": 64, "bits": 4}})
    assert stored_precision(declared_quantization(mlx)) is None


def test_a_hub_model_that_is_not_cached_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    use_cache_where_unreachable.cache_clear()  # another test may have asked the network
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"nobody/nothing is not in the local cache.*HF_HUB_OFFLINE"):
        models.resolve_model(variant("nobody/nothing"))


def test_identity_follows_the_content(tmp_path: Path) -> None:
    one, same = checkpoint(tmp_path / "one"), checkpoint(tmp_path / "same")
    other = checkpoint(tmp_path / "other", weights=b"weightS")
    found = [identities.identity_of(variant(folder), folder) for folder in (one, same, other)]
    hashes = [entry["weights"]["sha256"] for entry in found]
    assert hashes[0] == hashes[1] != hashes[2]
    assert found[0]["context_length"] == 4096
    assert found[0]["revision"] is None
    assert json.loads(json.dumps(found[0])) == found[0]


def test_large_weights_are_sampled_and_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "FULL_HASH_BYTES", 1000)
    size = 3 << 20
    folder = checkpoint(tmp_path / "m", weights=b"\0" * size)
    first = identities.identity_of(variant(folder), folder)["weights"]
    assert set(first) == {"files", "bytes", "sampled_sha256"}
    for at in (0, size // 2, size - 1):
        content = bytearray(size)
        content[at] = 1
        (folder / "model.safetensors").write_bytes(content)
        assert identities.identity_of(variant(folder), folder)["weights"]["sampled_sha256"] != first["sampled_sha256"]


def test_the_hashes_of_weights_can_be_made_by_hand(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m", weights=b"abc")
    (folder / "second.safetensors").write_bytes(b"de")
    found = identities.identity_of(variant(folder), folder)["weights"]
    assert found["sha256_by_file"] == {
        "model.safetensors": hashlib.sha256(b"abc").hexdigest(),
        "second.safetensors": hashlib.sha256(b"de").hexdigest(),
    }
    total = b"model.safetensors\0" + b"3\0abc" + b"second.safetensors\0" + b"2\0de"
    assert found["sha256"] == hashlib.sha256(total).hexdigest()


def test_code_that_is_run_and_the_tokenizer_that_is_used_are_hashed(tmp_path: Path) -> None:
    folder, own = checkpoint(tmp_path / "m"), tmp_path / "models--org--tok" / "snapshots" / ("b" * 40)
    own.mkdir(parents=True)
    (folder / "modeling.py").write_text("1")
    (folder / "chat_template.jinja").write_text("model's")
    (own / "chat_template.jinja").write_text("tokenizer's")
    plain = identities.identity_of(variant(folder), folder)
    asked = variant(folder, trust_remote_code=True).model_copy(update={"tokenizer": str(own)})
    found = identities.identity_of(asked, folder)
    assert "code_sha256" not in plain
    assert found["code_sha256"] == {"modeling.py": hashlib.sha256(b"1").hexdigest()}
    assert found["chat_template_sha256"] == hashlib.sha256(b"tokenizer's").hexdigest()
    assert found["tokenizer"] == {"path": str(own), "revision": "b" * 40}
    assert plain["chat_template_sha256"] == hashlib.sha256(b"model's").hexdigest()


OLD = {"path": "/a", "revision": None, "weights": {"files": 1, "sha256": "w"}, "chat_template_sha256": "model's"}
NEW = {"path": "/b", "revision": "c", "weights": {"sha256": "w", "bytes_by_type": {"BF16": 2}}, "code_sha256": {}}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (OLD, NEW, []),  # told by two versions, at two places
        (OLD, NEW | {"weights": {"sha256": "v"}}, ["weights"]),
        (NEW | {"revision": "d"}, NEW, ["revision"]),
        (OLD, NEW | {"chat_template_sha256": "t"}, ["chat_template_sha256"]),
        (OLD, NEW | {"chat_template_sha256": "t", "tokenizer": {"path": "/t"}}, []),  # it was never noted
        ({"recorded": "/x.jsonl"}, {"path": "/x.jsonl", "sha256": "1"}, []),
    ],
)
def test_identities_differ_in_what_both_tell(one: dict[str, Any], other: dict[str, Any], expected: list[str]) -> None:
    assert identities.differing(one, other) == identities.differing(other, one) == expected


def safetensors(**tensors: str) -> bytes:
    """A file of matrices by name and number type; vectors where the type has a trailing 'v'."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for number, (name, dtype) in enumerate(tensors.items()):
        shape = [8] if dtype.endswith("v") else [2, 4]
        header[name] = {"dtype": dtype.rstrip("v"), "shape": shape, "data_offsets": [16 * number, 16 * number + 16]}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"\0" * 16 * len(tensors)


def quantized(**declared: Any) -> dict[str, Any]:
    return {**CONFIG, "quantization_config": declared}


BLANK = {"embed.weight": "BF16", "q_proj.weight": "BF16", "norm.weight": "BF16v"}
KV = {"quant_method": "compressed-tensors", "config_groups": {}, "kv_cache_scheme": {"type": "float", "num_bits": 8}}


@pytest.mark.parametrize(
    "config",
    [
        quantized(**FP8),
        quantized(quant_method="fp8", activation_scheme="dynamic", weight_block_size=[128, 128]),
        quantized(quant_method="modelopt", quant_algo="NVFP4"),
        quantized(quant_method="gptq", bits=4),
        quantized(quant_method="awq", bits=4),
        quantized(quant_method="mxfp4"),
    ],
)
def test_plain_weights_that_are_declared_quantized_are_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="its weights are all BF16 and have no scales"):
        models.resolve_model(variant(checkpoint(tmp_path / "m", config, safetensors(**BLANK))))


@pytest.mark.parametrize(
    "tensors",
    [
        {"q_proj.weight": "F8_E4M3", "q_proj.weight_scale": "BF16"},
        {"q_proj.weight": "F8_E4M3", "q_proj.weight_scale_inv": "F32"},
        {"q_proj.weight_packed": "U8", "q_proj.weight_scale": "F8_E4M3", "q_proj.weight_global_scale": "F32v"},
        {"q_proj.weight": "U8", "q_proj.weight_scale": "F8_E4M3", "q_proj.weight_scale_2": "F32v"},
        {"q_proj.qweight": "I32", "q_proj.scales": "F16", "q_proj.qzeros": "I32", "q_proj.g_idx": "I32v"},
        {"q_proj.weight": "U8", "q_proj.weight.absmax": "F32v"},
        {"experts.gate_up_proj_blocks": "U8", "experts.gate_up_proj_scales": "U8"},
    ],
)
def test_quantized_weights_that_nothing_declares_are_refused(tmp_path: Path, tensors: dict[str, str]) -> None:
    folder = checkpoint(tmp_path / "m", CONFIG, safetensors(**BLANK | tensors))
    with pytest.raises(ModelError, match=r"has 1 quantized weights with scales, like .* no quantization_config"):
        models.resolve_model(variant(folder))
    for declared in (quantized(**FP8), {**CONFIG, "text_config": {"quantization_config": {"quant_method": "new"}}}):
        (folder / "config.json").write_text(json.dumps(declared))
        assert models.resolve_model(variant(folder)) == folder
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "quantize_config.json").write_text('{"bits": 4}')
    assert models.resolve_model(variant(folder)) == folder


@pytest.mark.parametrize(
    ("config", "tensors", "engine"),
    [
        (CONFIG, BLANK, {}),
        (CONFIG, BLANK, {"quantization": "fp8"}),
        (quantized(**FP8), {**BLANK, "q_proj.weight": "F8_E4M3", "q_proj.weight_scale": "BF16"}, {}),
        (quantized(**KV), BLANK, {}),
        (quantized(**KV), {**BLANK, "attn.k_scale": "F32v"}, {}),
        (quantized(**{**FP8, "config_groups": {"g": {"weights": None, "input_activations": {}}}}), BLANK, {}),
        (quantized(quant_method="modelopt", kv_cache_quant_algo="FP8"), BLANK, {}),
        (quantized(quant_method="bitsandbytes", load_in_4bit=True), BLANK, {}),
        (quantized(quant_method="torchao"), BLANK, {}),
        (quantized(**FP8), {**BLANK, "q_proj.weight_scale": "BF16"}, {}),  # quantized, kept as BF16 with its scales
        (CONFIG, {**BLANK, "position_ids": "I64", "tower.logit_scale": "F32v"}, {}),
        ({**CONFIG, "auto_map": {}}, {**BLANK, "q_proj.weight": "I8", "q_proj.weight_scale": "F16"}, {}),
    ],
)
def test_weights_that_are_as_declared_are_taken(
    tmp_path: Path, config: dict[str, Any], tensors: dict[str, str], engine: dict[str, Any]
) -> None:
    folder = checkpoint(tmp_path / "m", config, safetensors(**tensors))
    assert models.resolve_model(variant(folder, "vllm", **engine)) == folder
    assert identities.identity_of(variant(folder), folder)["weights"]["bytes_by_type"]["BF16"] >= 32


def test_of_weights_in_another_format_nothing_is_said(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m", quantized(**FP8))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert models.resolve_model(variant(folder)) == folder
    assert "bytes_by_type" not in identities.identity_of(variant(folder), folder)["weights"]


def test_a_hub_snapshots_commit_is_known(tmp_path: Path) -> None:
    commit = "a" * 40
    folder = checkpoint(tmp_path / "models--org--name" / "snapshots" / commit)
    assert identities.identity_of(variant(folder), folder)["revision"] == commit


def test_declared_quantization(tmp_path: Path) -> None:
    plain = checkpoint(tmp_path / "plain")
    assert declared_quantization(plain) is None
    expected = {
        "method": "compressed-tensors",
        "format": "float-quantized",
        "weights": ["float 8 bit, channel"],
        "activations": ["float 8 bit, token, dynamic"],
        "ignored_modules": 1,
    }
    for config in ({"quantization_config": FP8}, {"text_config": {"quantization_config": FP8}}):
        assert declared_quantization(checkpoint(tmp_path / "m", CONFIG | config)) == expected
    (plain / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "NVFP4"}}))
    assert declared_quantization(plain) == {"method": "modelopt", "quant_algo": "NVFP4"}


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"max_position_embeddings": 8}, 8),
        ({"text_config": {"max_position_embeddings": 9}}, 9),
        ({"n_positions": 10}, 10),
        ({}, None),
    ],
)
def test_context_length(tmp_path: Path, config: dict[str, Any], length: int | None) -> None:
    assert models.context_length(checkpoint(tmp_path / "m", config)) == length


def test_the_chat_template_is_found_in_either_place(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m")
    assert identities.tokenizer_identity(folder)["chat_template_sha256"] is None
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ x }}"}))
    inside = identities.tokenizer_identity(folder)
    (folder / "chat_template.jinja").write_text("{{ x }}")
    own = identities.tokenizer_identity(folder)["chat_template_sha256"]
    assert own == inside["chat_template_sha256"] == hashlib.sha256(b"{{ x }}").hexdigest()
