"""What the harness itself costs: all MMLU-Pro items through `replay` against lm-eval's dummy model, same file.

    python perf/harness_overhead.py MMLU_PRO_TEST.jsonl[.gz] [--rounds 3]

Each round runs bitparity (exam, engine process, store, grades, results,
report; with one variant and with three) and lm-eval (`--model dummy`, 0-shot, samples logged), one after the other,
as whole processes. Prints one JSON line: median wall seconds, peak memory of the process tree in MiB, and the ratios.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CATEGORIES = [
    "biology",
    "business",
    "chemistry",
    "computer_science",
    "economics",
    "engineering",
    "health",
    "history",
    "law",
    "math",
    "other",
    "philosophy",
    "physics",
    "psychology",
]


def lm_eval_command(folder: Path, data: Path) -> list[str]:
    """lm-eval's own command on the same file: its MMLU-Pro tasks with only the data set's place changed."""
    import lm_eval

    tasks = Path(lm_eval.__file__).parent / "tasks" / "mmlu_pro"
    place = folder / "tasks"
    place.mkdir()
    for name in CATEGORIES:
        files = {"test": str(data), "validation": str(data)}
        task = {
            "include": str(tasks / f"mmlu_pro_{name}.yaml"),
            "task": f"local_{name}",
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": files},
        }
        (place / f"{name}.yaml").write_text(json.dumps(task))
    names = ",".join(f"local_{name}" for name in CATEGORIES)
    options = f"--model dummy --tasks {names} --include_path {place} --num_fewshot 0 --log_samples --output_path lm"
    return [sys.executable, "-m", "lm_eval", "run", *options.split()]


def rows(path: Path) -> list[dict[str, object]]:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def write_study(folder: Path, data: Path, variants: int) -> Path:
    """A study over recorded answers, one in eight wrong, in sentences as models write them."""
    names = [f"v{n}" for n in range(variants)]
    for index, name in enumerate(names):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for number, row in enumerate(rows(data)):
                letter = "A" if (number + index) % 8 == 0 else row["answer"]
                text = f"Let us think step by step. {row['question']}\nThe answer is ({letter})."
                record = {"item": str(row["question_id"]), "text": text, "tokens": 60, "prompt_tokens": 120}
                file.write(json.dumps(record) + "\n")
    study = {
        "study": "overhead",
        "variants": {name: {"model": f"{name}.jsonl", "baseline": name == "v0"} for name in names},
        "engine": {"kind": "replay"},
        "benchmarks": [{"name": "mmlu_pro", "data": str(data)}],
    }
    path = folder / f"study{variants}.yaml"
    path.write_text(json.dumps(study))
    return path


def tree_mib(root: int) -> float:
    """Resident memory of a process and all below it, in MiB (shared pages counted once a process)."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
    inside, total = {root}, 0.0
    while more := {p for p, parent in parents.items() if parent in inside} - inside:
        inside |= more
    for pid in inside:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        except (OSError, IndexError, ValueError):
            continue
    return total


def measure(command: list[str], folder: Path) -> tuple[float, float]:
    """(wall seconds, peak MiB) of a whole command; it may end with any verdict but not fail."""
    started, peak = time.perf_counter(), 0.0
    with (folder / "output.txt").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        while process.poll() is None:
            peak = max(peak, tree_mib(process.pid))
            time.sleep(0.05)
    if process.returncode not in (0, 1, 3):
        sys.exit(f"{command} ended with {process.returncode}:\n{(folder / 'output.txt').read_text()[-3000:]}")
    return time.perf_counter() - started, peak


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    data = args.data.resolve()
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    ours: dict[int, list[tuple[float, float]]] = {1: [], 3: []}
    theirs: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["HF_HOME"] = str(folder / "hf")
        studies = {count: write_study(folder, data, count) for count in ours}
        lm_eval = lm_eval_command(folder, data)
        for number in range(args.rounds):
            for count, study in studies.items():
                command = [sys.executable, "-m", "bitparity", "run", str(study), "--out", f"run{count}-{number}"]
                ours[count].append(measure(command, folder))
            theirs.append(measure(lm_eval, folder))

    def median(values: list[tuple[float, float]], column: int) -> float:
        return round(statistics.median(value[column] for value in values), 2)

    print(
        json.dumps(
            {
                "items": len(rows(data)),
                "rounds": args.rounds,
                "bitparity_s": median(ours[1], 0),
                "bitparity_three_variants_s": median(ours[3], 0),
                "lm_eval_dummy_s": median(theirs, 0),
                "ratio": round(median(ours[1], 0) / median(theirs, 0), 3),
                "bitparity_peak_mib": median(ours[1], 1),
                "bitparity_three_variants_peak_mib": median(ours[3], 1),
                "lm_eval_dummy_peak_mib": median(theirs, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
