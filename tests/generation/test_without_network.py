"""Runs where the hub cannot be reached or a package is missing: what can be run is run, the rest is told in a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from support import Cli, replay_study, write_yaml

from bitparity.engines.transformers_engine import TransformersEngine

HUB_BENCHMARKS = ["gpqa_diamond", "mmlu_pro"]


def run(study: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: it changes how the hub's libraries behave."""
    clean = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE" and not k.lower().endswith("_proxy")}
    command = [sys.executable, "-m", "bitparity", "run", str(study), "--out", str(study.parent / "out")]
    return subprocess.run(
        command,
        env={**clean, "HF_HOME": str(study.parent / "home"), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def with_hub_benchmarks(folder: Path, *, also_local: bool) -> Path:
    study = replay_study(folder)
    document = yaml.safe_load(study.read_text())
    document["benchmarks"] = [*(document["benchmarks"] if also_local else []), *HUB_BENCHMARKS]
    return write_yaml(study, document)


@pytest.mark.parametrize(
    "environment",
    [{"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HTTPS_PROXY": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}],
    ids=["no network", "dead proxy", "told to be offline"],
)
def test_a_benchmark_that_cannot_be_had_is_not_run_and_the_others_are(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    pytest.importorskip("datasets")
    began = time.monotonic()
    ended = run(with_hub_benchmarks(tmp_path, also_local=True), **environment)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    found = {name: entry["status"] for name, entry in results["benchmarks"].items()}
    assert found == {"math500": "measured", "gpqa_diamond": "not_run", "mmlu_pro": "not_run"}, ended.stderr
    for name in HUB_BENCHMARKS:
        told = [line for line in ended.stderr.splitlines() if line.startswith(f"{name}: not run: data set ")]
        assert len(told) == 1, ended.stderr
    assert "Retrying" not in ended.stderr
    assert time.monotonic() - began < 60


def test_a_study_of_which_nothing_can_be_run_is_bad_input(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    ended = run(with_hub_benchmarks(tmp_path, also_local=False), HF_ENDPOINT="http://127.0.0.1:9")
    assert ended.returncode == 2
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("error: no benchmark of the study can be run: gpqa_diamond: data set")
    assert "the hub cannot be reached (http://127.0.0.1:9: ConnectError)" in last


def test_a_missing_engine_is_named_before_anything_is_downloaded(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TransformersEngine, "libraries", ("no_such_engine",))
    study = replay_study(tmp_path)
    document = yaml.safe_load(study.read_text())
    document["variants"]["fp8"] |= {"model": "nobody/nothing", "engine": {"kind": "transformers"}}
    ended = cli("run", write_yaml(study, document), "--out", tmp_path / "out")
    assert ended.code == 2
    assert "needs the package 'no_such_engine', which is not installed" in ended.err
    assert "hub" not in ended.err
