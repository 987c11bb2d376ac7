from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_model import variant

from bitparity import models
from bitparity.errors import ModelError

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


def test_a_hub_model_that_is_not_cached_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"nobody/nothing is not in the local cache.*HF_HUB_OFFLINE"):
        models.resolve_model(variant("nobody/nothing"))


def test_identity_follows_the_content(tmp_path: Path) -> None:
    one, same = checkpoint(tmp_path / "one"), checkpoint(tmp_path / "same")
    other = checkpoint(tmp_path / "other", weights=b"weightS")
    found = [models.identity(folder) for folder in (one, same, other)]
    hashes = [entry["weights"]["sha256"] for entry in found]
    assert hashes[0] == hashes[1] != hashes[2]
    assert found[0]["context_length"] == 4096
    assert found[0]["revision"] is None
    assert json.loads(json.dumps(found[0])) == found[0]


def test_large_weights_are_sampled_and_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "FULL_HASH_BYTES", 1000)
    size = 3 << 20
    folder = checkpoint(tmp_path / "m", weights=b"\0" * size)
    first = models.identity(folder)["weights"]
    assert set(first) == {"files", "bytes", "sampled_sha256"}
    for at in (0, size // 2, size - 1):
        content = bytearray(size)
        content[at] = 1
        (folder / "model.safetensors").write_bytes(content)
        assert models.identity(folder)["weights"]["sampled_sha256"] != first["sampled_sha256"]


def test_a_hub_snapshots_commit_is_known(tmp_path: Path) -> None:
    commit = "a" * 40
    assert models.identity(checkpoint(tmp_path / "models--org--name" / "snapshots" / commit))["revision"] == commit


def test_declared_quantization(tmp_path: Path) -> None:
    plain = checkpoint(tmp_path / "plain")
    assert models.declared_quantization(plain) is None
    expected = {
        "method": "compressed-tensors",
        "format": "float-quantized",
        "weights": ["float 8 bit, channel"],
        "activations": ["float 8 bit, token, dynamic"],
        "ignored_modules": 1,
    }
    for config in ({"quantization_config": FP8}, {"text_config": {"quantization_config": FP8}}):
        assert models.declared_quantization(checkpoint(tmp_path / "m", CONFIG | config)) == expected
    (plain / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "NVFP4"}}))
    assert models.declared_quantization(plain) == {"method": "modelopt", "quant_algo": "NVFP4"}


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
    assert models.chat_template_hash(folder) is None
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ x }}"}))
    inside = models.chat_template_hash(folder)
    (folder / "chat_template.jinja").write_text("{{ x }}")
    assert models.chat_template_hash(folder) == inside == hashlib.sha256(b"{{ x }}").hexdigest()
