"""Checkpoints that are broken, or not what they seem."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from doubles import GB, H100, Shelf, checkpoint, host, said, study

from bitparity.doctor.checkpoints import find_checkpoint
from bitparity.errors import ModelError
from bitparity.models.checkpoint import check_weights, weight_files

BROKEN = {
    "config.json": [
        (b'{"quantization_config": [1]}', "quantization_config is no JSON object"),
        (b'{"text_config": {"quantization_config": "fp8"}}', "quantization_config is no JSON object"),
        (b"\xff\xfe{", "cannot be read as JSON"),
    ],
    "hf_quant_config.json": [(b'{"quantization": "NVFP4"}', "quantization is no JSON object")],
    "tokenizer_config.json": [(b"[1]", "holds no JSON object")],
    "chat_template.jinja": [(b"\xff\xfe", "cannot be read as text")],
    "model.safetensors.index.json": [(b'{"weight_map": ["a"]}', "holds no weight_map")],
}


@pytest.mark.parametrize(("file", "content", "why"), [(f, *case) for f, cases in BROKEN.items() for case in cases])
def test_a_broken_file_is_named(models: Path, file: str, content: bytes, why: str) -> None:
    (models / "bf16" / file).write_bytes(content)
    found = said(study(models, {"bf16": "bf16"}), host(H100), "model bf16", "error")
    assert file in found[0].message
    assert why in found[0].message
    assert not said(study(models, {"bf16": "bf16"}), host(H100), "kernels", "ok") or file != "config.json"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"text_config": [1]}, "takes 10.7 GB"),
        ({"text_config": "x"}, "takes 10.7 GB"),
        ({"num_attention_heads": [4, 4]}, "takes 10.7 GB"),
        ({"num_key_value_heads": [1, 2]}, "the cache's need is not known"),
        ({"num_key_value_heads": None}, "the cache's need is not known"),  # of layers that differ (Nemotron)
        ({"head_dim": "x"}, "the cache's need is not known"),
        ({"num_hidden_layers": True}, "the cache's need is not known"),
    ],
)
def test_an_odd_value_leaves_only_the_cache_unknown(models: Path, config: dict[str, object], words: str) -> None:
    checkpoint(models / "odd", 20 * GB, **config)
    found = said(study(models, {"odd": "odd"}), host(H100), "memory of odd")
    assert words in found[0].message


def test_links_to_nothing(models: Path) -> None:
    file = models / "bf16" / "model.safetensors"
    file.unlink()
    file.symlink_to("../../blobs/gone")
    with pytest.raises(ModelError, match="links to nothing, like model.safetensors"):
        check_weights(models / "bf16")
    local = said(study(models, {"bf16": "bf16"}), host(H100), "model bf16", "error")
    assert "copied without its folder blobs" in local[0].message
    copied = Shelf(held={"Qwen/Qwen3-32B": models / "bf16"}, is_offline=True)
    found = said(study(models, {"bf16": "Qwen/Qwen3-32B"}), host(H100, hub=copied), "hub", "error")
    assert "is not whole in the cache" in found[0].message


@pytest.mark.parametrize("indexed", [True, False])
def test_a_second_copy_of_the_weights_is_not_counted(models: Path, indexed: bool) -> None:
    folder = checkpoint(models / "mistral", 24 * GB)
    with (folder / "consolidated.safetensors").open("wb") as file:
        file.truncate(24 * GB)
    if indexed:
        (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
        index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    given = study(models, {"mistral": "mistral"})
    assert find_checkpoint(given.variants["mistral"], Shelf(), True).weights == 24 * GB
    assert [f.name.startswith("model") for f in weight_files(folder)] == [True]
