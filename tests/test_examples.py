"""The studies and documents in examples/ are what they say."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from doubles import GIB, Device, host, models
from made_results import results as typed

from bitparity.cli.app import app
from bitparity.doctor.plan import make_plan
from bitparity.report.filling import fill
from bitparity.study.resolve import load_study

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "qwen3-32b-rtx-pro-6000"
MODES = ("thinking", "non-thinking")
__all__ = ["models"]  # a fixture


@pytest.mark.parametrize("mode", MODES)
def test_the_study_is_valid_and_compares_the_three_checkpoints(mode: str) -> None:
    study = load_study(FOLDER / f"{mode}.yaml")
    models = {name: variant.model for name, variant in study.variants.items() if not variant.control}
    assert models == {
        "bf16": "Qwen/Qwen3-32B",
        "fp8": "Qwen/Qwen3-32B-FP8",
        "nvfp4": "RedHatAI/Qwen3-32B-NVFP4",
    }
    assert (study.baseline, study.control) == ("bf16", "bf16-control")
    for spec in study.benchmarks:
        thinking = spec.protocol.chat_template_args["enable_thinking"]
        assert thinking == (mode == "thinking")
        assert (spec.protocol.reasoning != "none") == thinking
        longest = study.variants["bf16"].engine.max_model_len
        assert longest is not None
        assert spec.protocol.max_tokens <= longest - 2048  # room for the prompt
        assert spec.samples > 1 or spec.name in ("mmlu_pro", "hle", "livecodebench")


@pytest.mark.parametrize("name", ["three-hours", "two-slices"])
def test_the_other_studies_are_valid(name: str) -> None:
    study = load_study(FOLDER / f"{name}.yaml")
    assert {variant.engine.linear_backend for variant in study.variants.values() if "FP" in variant.model} == {
        "cutlass"
    }
    assert study.variants["bf16"].engine.linear_backend is None


def test_three_hours_are_three_on_that_card(models: Path) -> None:
    study = load_study(FOLDER / "three-hours.yaml")
    folders = {"bf16": "bf16", "fp8": "fp8", "nvfp4": "nvfp4"}
    here = {n: v.model_copy(update={"model": str(models / folders[n])}) for n, v in study.variants.items()}
    slice_ = Device("NVIDIA RTX PRO 6000 Blackwell DC-4-96Q", slices=(("MIG-one", 96 * GIB),))
    plan = make_plan(study.model_copy(update={"variants": here}), host=host(slice_))
    hours = [plan.hours_of(name) for name in here]
    assert 1.2 < sum(found[0] for found in hours if found) < 2.8  # loads and prompts take the rest


@pytest.mark.parametrize("mode", MODES)
def test_the_document_has_a_row_for_each_benchmark_and_a_column_for_each_variant(mode: str) -> None:
    study = load_study(FOLDER / f"{mode}.yaml")
    results: dict[str, Any] = {
        "study": {"name": study.name},
        "variants": {
            name: {"model": v.model, "baseline": v.baseline, "control": v.control} for name, v in study.variants.items()
        },
        "benchmarks": {spec.name: {"status": "not_run", "reason": "?", "margin": 0.01} for spec in study.benchmarks},
    }
    before = (FOLDER / "results.zh.md").read_text(encoding="utf-8")
    filled = fill(before, typed(results))
    assert filled.cells == 7 * 4
    assert len([line for line in filled.messages if "filled 7 rows" in line]) == 1
    assert len([line for line in filled.messages if "is kept for study" in line]) == 1
    assert not [line for line in filled.messages if "is left" in line or "no row" in line or "no column" in line]
    other = MODES[1 - MODES.index(mode)]
    table = before.split(f"<!-- bitparity: qwen3-32b-{other} -->")[1].split("##")[0]
    assert table in filled.text


EXAMPLES = FOLDER.parent


@pytest.mark.parametrize("script", sorted(p.name for p in (EXAMPLES / "slurm").glob("*.sbatch")))
def test_a_slurm_script_can_be_parsed_and_calls_commands_that_are_there(script: str) -> None:
    path = EXAMPLES / "slurm" / script
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0
    text = path.read_text()
    assert text.startswith("#!/bin/bash\n")
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    used = set(re.findall(r"^ *(?:srun .*)?bitparity (\w+)", text, re.MULTILINE))
    assert used
    assert used <= known


def test_an_array_task_runs_its_shard(tmp_path: Path) -> None:
    """The script with a stand-in for bitparity that prints what it is asked."""
    (tmp_path / "bitparity").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "bitparity").chmod(0o755)
    task = {"SLURM_ARRAY_TASK_ID": "12", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_COUNT": "4"}
    environment = {**os.environ, **task, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["bash", str(EXAMPLES / "slurm" / "array.sbatch"), "study.yaml"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.stdout == "run study.yaml --shard 3/4\n", ended.stderr


def pods(document: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = document["spec"].get("rayClusterSpec", document["spec"])
    return [cluster["headGroupSpec"]["template"], *(g["template"] for g in cluster["workerGroupSpecs"])]


@pytest.mark.parametrize(("name", "kind"), [("rayjob", "RayJob"), ("raycluster", "RayCluster")])
def test_a_kuberay_manifest_hangs_together(name: str, kind: str) -> None:
    document = yaml.safe_load((EXAMPLES / "kuberay" / f"{name}.yaml").read_text())
    assert (document["apiVersion"], document["kind"]) == ("ray.io/v1", kind)
    for template in pods(document):
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        for container in template["spec"]["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert container["resources"]["limits"] == container["resources"]["requests"]
            assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
    head, *workers = pods(document)
    assert not any("nvidia" in key for key in head["spec"]["containers"][0]["resources"]["limits"])
    assert all(any("nvidia" in key for key in w["spec"]["containers"][0]["resources"]["limits"]) for w in workers)


def test_the_study_of_the_kuberay_job_is_valid(tmp_path: Path) -> None:
    document = yaml.safe_load((EXAMPLES / "kuberay" / "study.yaml").read_text())
    (tmp_path / "study.yaml").write_text(document["data"]["study.yaml"])
    assert load_study(tmp_path / "study.yaml").baseline == "bf16"
    job = yaml.safe_load((EXAMPLES / "kuberay" / "rayjob.yaml").read_text())
    assert "bitparity run /study/study.yaml" in job["spec"]["entrypoint"]
