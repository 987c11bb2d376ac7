"""A run over recorded answers, for tests of evidence."""

from __future__ import annotations

from pathlib import Path

from support import write_jsonl, write_yaml

from bitparity.benchmarks.registry import load_benchmark
from bitparity.progress.events import Events
from bitparity.results.build import write
from bitparity.runner import run_study
from bitparity.schema import Study
from bitparity.study.resolve import load_study

WRONG = {"bf16": 9, "fp8": 7, "nvfp4": 4}  # every so many answers of a variant are wrong


def answered(study: Study, wrong: int) -> list[dict[str, object]]:
    """Recorded answers to the smoke test."""
    rows: list[dict[str, object]] = []
    for number, item in enumerate(load_benchmark(study.benchmarks[0]).items()):
        bad = number % wrong == 0
        row: dict[str, object] = {"item": item.id, "finish": "stop", "tokens": 3, "seconds": 0.5}
        if item.subgroup == "choice":
            best = (item.reference + bad) % 4
            row["logprobs"] = [[-1.0 - (n != best) * (1 + n / 9), n == best] for n in range(4)]
        else:
            row["text"] = f' {"9" * bad}{item.reference}"'
        rows.append(row)
    return rows


def smoke_run(folder: Path, **document: object) -> Path:
    """A finished run directory; `document` has more keys of its study."""
    variants = {name: {"model": f"{name}.jsonl", "baseline": name == "bf16"} for name in WRONG}
    study = {"study": "sealed", "variants": variants, "engine": {"kind": "replay"}, "benchmarks": ["smoke"]}
    path = write_yaml(folder / "study.yaml", {**study, **document})
    for name in WRONG:
        (folder / f"{name}.jsonl").touch()
    resolved = load_study(path)
    for name, wrong in WRONG.items():
        write_jsonl(folder / f"{name}.jsonl", answered(resolved, wrong))
    run = run_study(resolved, folder / "run", Events()).run
    write(run)
    return run.path
