"""The command `locate` and what it leaves in a run and its reports, on a real engine process and a tiny model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import tiny_model
from localization_checkpoints import quantized_fp8
from support import Cli, write_yaml

pytestmark = pytest.mark.slow

DAMAGED = "model.layers.1.mlp.down_proj"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("locate")
    baseline = tiny_model.build_model(folder / "bf16", "bfloat16")
    variants = {
        "bf16": {"model": str(baseline), "baseline": True},
        "damaged": {"model": str(quantized_fp8(baseline, folder / "damaged", DAMAGED, 1.6))},
    }
    document = {
        **{"study": "tiny", "variants": variants, "engine": {"kind": "transformers", "device": "cpu"}},
        "benchmarks": [{"name": "smoke", "limit": 20, "max_tokens": 8}],
    }
    return write_yaml(folder / "study.yaml", document)


def test_a_damaged_module_is_named_in_the_run_and_its_reports(cli: Cli, study: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert cli("run", study, "--out", out).code in (0, 1, 3)
    ended = cli("locate", study, "--candidate", "damaged", "--out", out, "--answers", 8)
    assert ended.code == 0, ended.err
    assert DAMAGED in ended.out
    folder = out / "localization" / "damaged"
    assert {path.name for path in folder.iterdir()} == {"localization.json", "layers.svg"}
    found = json.loads((folder / "localization.json").read_text())
    assert found["best"] == DAMAGED
    assert found["answers"] == 8
    ElementTree.fromstring((folder / "layers.svg").read_text())
    assert cli("report", out, "--lang", "zh").code == 0
    assert "距离来自何处" in (out / "report.zh.md").read_text()
    assert "(localization/damaged/layers.zh.svg)" in (out / "report.zh.md").read_text()
    assert "层" in (folder / "layers.zh.svg").read_text()
    assert cli("report", out).code == 0
    markdown, page = (out / "report.md").read_text(), (out / "report.html").read_text()
    assert "(localization/damaged/layers.svg)" in markdown
    assert DAMAGED.replace("_", "\\_") in markdown
    assert page.count('<section id="localization"') == 1
    assert DAMAGED in page


def test_without_a_run_the_baseline_answers_the_smoke_set(cli: Cli, study: Path, tmp_path: Path) -> None:
    ended = cli("locate", study, "--candidate", "damaged", "--out", tmp_path / "new", "--answers", 6, "--json")
    assert ended.code == 0, ended.err
    assert re.search(r"bf16: answers to the smoke set: \d+ answers done", ended.err)
    found = json.loads(ended.out)
    assert found["best"] == DAMAGED
    assert found["answers"] == 6
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "new-locate" / "localization" / "damaged" / "localization.json").is_file()


def test_a_variant_that_is_none_is_told(cli: Cli, study: Path, tmp_path: Path) -> None:
    for name in ("bf16", "fp4"):
        ended = cli("locate", study, "--candidate", name, "--out", tmp_path / "run")
        assert ended.code == 2
        assert f"'{name}' is no candidate of study tiny; its candidates: damaged" in ended.err


def test_recorded_answers_have_no_weights(cli: Cli, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("")
    variants = {"a": {"model": str(rows), "baseline": True}, "b": {"model": str(rows)}}
    document = {"study": "r", "variants": variants, "engine": {"kind": "replay"}, "benchmarks": ["smoke"]}
    ended = cli("locate", write_yaml(tmp_path / "s.yaml", document), "--candidate", "b", "--out", tmp_path / "run")
    assert ended.code == 2
    assert "variant 'a' has no weights here (engine replay)" in ended.err
