"""The command `distance` and a study with readings, on real engine processes and a tiny model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny_model
from support import Cli, math_rows, write_jsonl, write_yaml

pytest.importorskip("torch")
pytest.importorskip("transformers")

pytestmark = pytest.mark.slow


def disturbed(folder: Path, target: Path, scale: float) -> Path:
    """A copy of a model with noise on one layer's weights; NaN makes NaN weights."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, target)
    torch.manual_seed(1)
    tensors = load_file(target / "model.safetensors")
    name = "model.layers.1.mlp.down_proj.weight"
    tensors[name] = tensors[name] + scale * torch.randn_like(tensors[name])
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_model.build_model(folder / "bf16")
    disturbed(folder / "bf16", folder / "near", 0.01)
    disturbed(folder / "bf16", folder / "far", 0.1)
    disturbed(folder / "bf16", folder / "nan", float("nan"))
    shutil.copytree(folder / "bf16", folder / "same")
    other = json.loads((folder / "near" / "tokenizer.json").read_text())
    vocabulary = other["model"]["vocab"]
    shutil.copytree(folder / "near", folder / "other")
    plain = [piece for piece, number in vocabulary.items() if number >= len(tiny_model.SPECIAL)]
    vocabulary |= dict(zip(plain, [vocabulary[piece] for piece in reversed(plain)], strict=True))
    (folder / "other" / "tokenizer.json").write_text(json.dumps(other))
    return folder


def test_models_by_name(cli: Cli, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "d"
    names = ("bf16", "near", "far", "same", "nan", "other")
    given = [models / name for name in names]
    command = ("distance", *given, "--engine", "transformers", "--items", 8, "--max-tokens", 6, "--out", out, "--json")
    ended = cli(*command)
    assert ended.code == 3, ended.err  # one is broken, one not comparable
    document = json.loads(ended.out.splitlines()[-1])
    assert document == json.loads((out / "distance.json").read_text())
    found = document["distance"]
    assert found["top_k"] == "all"
    means = {name: found["variants"][name].get("overall") for name in names[1:]}
    assert means["same"]["divergence"]["value"] == 0
    assert 0 < means["near"]["divergence"]["value"] < means["far"]["divergence"]["value"]
    assert means["near"]["bound"] <= means["near"]["divergence"]["value"] * (1 + 1e-6)
    assert means["nan"] is None
    assert "tokenizer" in found["variants"]["other"]["reason"]
    said = {(guard["name"], guard["variant"]) for guard in found["guards"]}
    assert {("distance_nan", "nan"), ("distance_at_floor", "same"), ("distance_not_run", "other")} <= said
    assert ("distance_at_floor", "near") not in said
    page = (out / "distance.html").read_text()
    assert "far is " in page
    assert "<svg" in page
    before = (out / "distance" / "far" / "smoke.jsonl").read_bytes()
    assert cli(*command).code == 3  # nothing is read again
    assert (out / "distance" / "far" / "smoke.jsonl").read_bytes() == before


def test_texts_of_ones_own(cli: Cli, models: Path, tmp_path: Path) -> None:
    rows = [{"text": f"Sentence number {n} of a text."} for n in range(5)]
    texts = write_jsonl(tmp_path / "texts.jsonl", [*rows, {"prompt": "Question: why?", "text": " Because."}])
    command = ("distance", models / "bf16", models / "far", "--engine", "transformers", "--text", texts)
    ended = cli(*command, "--out", tmp_path / "d", "--json")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out.splitlines()[-1])
    assert document["texts"]
    far = document["distance"]["variants"]["far"]["overall"]
    assert far["answers"] == 6
    assert far["perplexity"]["value"] > 1
    assert not (tmp_path / "d" / "samples").exists() or not list((tmp_path / "d" / "samples").rglob("*.jsonl"))
    (tmp_path / "bad.jsonl").write_text('{"text": "fine"}\n{"words": 1}\n')
    bad = cli("distance", models / "bf16", models / "far", "--text", tmp_path / "bad.jsonl")
    assert bad.code == 2
    assert "line 2" in bad.err


def test_a_study_measures_distances_and_goes_on_with_them(cli: Cli, models: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "math.jsonl", math_rows(6))
    study = {
        "study": "toy",
        "variants": {"far": {"model": str(models / "far")}, "bf16": {"model": str(models / "bf16"), "baseline": True}},
        "engine": {"kind": "transformers", "device": "cpu", "max_model_len": 250},
        "protocol": {"max_tokens": 8},
        "benchmarks": [{"name": "math500", "data": data.name}],
    }
    without = write_yaml(tmp_path / "without.yaml", study | {"distance": False})
    with_it = write_yaml(tmp_path / "with.yaml", study)
    out = tmp_path / "run"
    assert cli("run", without, "--out", out).code in (0, 1, 3)
    plain = json.loads((out / "results.json").read_text())
    assert "distance" not in plain
    assert cli("run", with_it, "--out", out).code in (0, 1, 3)  # the same run, to which the readings are added
    results = json.loads((out / "results.json").read_text())
    found = results.pop("distance")
    assert results["benchmarks"] == plain["benchmarks"]
    assert found["variants"]["far"]["overall"]["answers"] == 6
    assert found["variants"]["far"]["benchmarks"]["math500"]["divergence"]["value"] > 0
    assert found["noise_floor"]["overall"]["answers"] == 6
    (out / "results.json").unlink()
    assert cli("report", out).code == 0
    assert json.loads((out / "results.json").read_text())["distance"] == found
    assert "plots/distance.svg" in (out / "report.md").read_text()
    assert 'id="distance"' in (out / "report.html").read_text()
