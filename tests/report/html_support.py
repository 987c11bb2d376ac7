"""What the tests of report.html share: small runs, hostile texts, a large book."""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from made_results import results as typed
from support import write_jsonl, write_yaml

from bitparity.benchmarks.gpqa_diamond import LETTERS, option_order
from bitparity.progress.events import Events
from bitparity.report import html
from bitparity.report.html.book import Answer, Bench, Book, Entry
from bitparity.results import build as results
from bitparity.results.schema import Results
from bitparity.runner import run_study
from bitparity.store.run import Run
from bitparity.study.resolve import load_study

HOSTILE = (
    "</script></style><script>window.pwned=1</script><img src=x onerror=window.pwned=1> "
    "javascript:window.pwned=1 &amp; {{7*7}}"
)


def finished(study: Path, folder: Path) -> tuple[Run, Results]:
    """A finished run with its results."""
    run = run_study(load_study(study), folder, Events()).run
    return run, results.write(run)


def page(run: Run) -> str:
    """The page of a run."""
    return (run.path / "report.html").read_text(encoding="utf-8")


def gpqa_study(
    folder: Path, right: Mapping[str, Mapping[int, Sequence[bool]]], prefix: str = "", ids: Sequence[str] = ()
) -> Path:
    """A study over made-up questions in the schema of GPQA; `right` says, variant, item and sample, what is right."""
    numbers = range(len(next(iter(right.values()))))
    names = list(ids) or [f"rec{n}" for n in numbers]
    rows = [
        {
            "Record ID": names[n],
            "Question": f"{prefix}Secret question {n}?",
            "Correct Answer": f"{prefix}truth {n}",
            **{f"Incorrect Answer {k}": f"{prefix}lie {n} {k}" for k in (1, 2, 3)},
            "High-level domain": f"{prefix}Physics",
        }
        for n in numbers
    ]
    write_jsonl(folder / "gpqa.jsonl", rows)
    for variant, items in right.items():
        said = []
        for n, samples in items.items():
            for k, good in enumerate(samples):
                letter = LETTERS[option_order(names[n], k).index(0 if good else 1)]
                text = f"{prefix}Secret thoughts of {variant}. The answer is {letter}."
                said.append({"item": names[n], "sample": k, "text": text})
        write_jsonl(folder / f"{variant}.jsonl", said)
    study = {
        "study": "made-up",
        "variants": {name: {"model": f"{name}.jsonl", "baseline": name == next(iter(right))} for name in right},
        "engine": {"kind": "replay"},
        "benchmarks": [{"name": "gpqa_diamond", "data": "gpqa.jsonl", "samples": len(right[next(iter(right))][0])}],
    }
    return write_yaml(folder / "study.yaml", study)


def hostile_run(folder: Path) -> Run:
    """A run whose questions, ids, answers, facts and guards try everything, with its page."""
    prefix = f"{HOSTILE} \x1b]0;t\x07\x1b[2J \u202e \x00 "
    right = {"bf16": {n: [True] for n in range(6)}, "fp8": {n: [n > 2] for n in range(6)}}
    study = gpqa_study(folder, right, prefix, [f"{HOSTILE} {n}" for n in range(6)])
    lines = (folder / "fp8.jsonl").read_text().splitlines()
    for n, text in ((0, "x" * 1_000_000), (1, "\\udfff\\ud800 \\u0000 broken. The answer is A.")):
        lines[n] = lines[n][: lines[n].index('"text"')] + f'"text": "{text}"}}'
    (folder / "fp8.jsonl").write_text("\n".join(lines) + "\n")
    run, made = finished(study, folder / "run")
    found = made.document()
    found["study"]["name"] = HOSTILE
    found["variants"]["fp8"]["model"] = HOSTILE
    found["variants"]["fp8"]["engine"]["device_name"] = HOSTILE
    found["benchmarks"]["gpqa_diamond"]["guards"].append(
        {"name": HOSTILE, "variant": HOSTILE, "level": "warning", "value": None, "message": HOSTILE + "\ud800\x1b"}
    )
    found["benchmarks"]["<script>x</script>"] = {"status": "not_run", "reason": HOSTILE, "margin": 0.01}
    html.write(run, typed(found), withhold="nothing")
    return run


def filled_out(found: Results) -> Results:
    """Results with something in every part of the page: speed, programs, platforms, many subgroups, long names."""
    results = found.document()
    for number, variant in enumerate(results["variants"].values()):
        variant |= {
            "model": "organisation/" + "a-rather-long-name-of-a-checkpoint-" * 4,
            "engine": {"engine": "vllm", "version": "0.33.0", "device_name": "NVIDIA RTX PRO 6000 Blackwell Server"},
            "identity": {"weights": {"bytes": 65_000_000_000 >> number}},
            "generation": {"seconds": 100.0, "samples": 40, "output_tokens": 100_000 * (number + 1)},
        }
    (entry,) = results["benchmarks"].values()
    names = list(results["variants"])
    group = next(iter(entry["subgroups"].values()))
    entry["subgroups"] = {f"a category of questions {n}": group for n in range(14)}
    entry |= {
        "execution": {name: {"level": "bubblewrap"} for name in names},
        "verdicts": {name: {"pass": 30, "wrong_answer": 7, "time_limit": 3} for name in names},
        "rates": {name: {"whole_problems": 0.25} for name in names},
        "platforms": {"leetcode": group, "atcoder": group},
    }
    guard = {"name": "cut_off", "variant": names[1], "value": 0.3, "message": "30.0 % of the answers were cut off"}
    entry["guards"] += [guard | {"level": level} for level in ("error", "warning")] * 3
    long = "lm_eval:a_task_whose_name_is_as_long_as_some_of_them_are_in_the_harness"
    missing = {"status": "not_run", "reason": "its data set is gated: accept its terms first", "margin": 0.02}
    results["benchmarks"] |= {long: {**entry, "samples": 4}, "gpqa_diamond_extended": missing}
    pooled = next(iter(entry["comparisons"].values()))
    results["overall"] = {
        names[1]: {
            key: pooled[key]
            for key in ("difference", "ci95", "p_value", "p_adjusted", "recovery", "verdict", "loss_shown")
        }
        | {"benchmarks": ["a", "b"], "margin": 0.03, "control": False}
    }
    return typed(results)


def made_book(entries: int, size: int) -> Book:
    """A book of random texts of about `size` characters, which compress badly; every other item flipped."""
    draw = random.Random(1)

    def answer(mark: str) -> Answer:
        text = base64.b64encode(draw.randbytes(size * 3 // 4)).decode()
        return Answer(text, mark * 2, 0, mark, 100, "stop", [])

    def entry(n: int) -> Entry:
        code = n % 4
        found = ([answer(str(int(code in (0, 2))))], [answer(str(int(code in (1, 2))))])
        asked = (f"Question {n}: what is {n} + {n}?",)
        shown = ("11", "00")
        return Entry(0, f"item{n}", n % 3, asked[0], "42", (code,), shown, (1, 1 + n % 2), asked, ("42",), found)

    bench = Bench("math500", "math500", ("a", "b", "c"), 1, "")
    return Book(("bf16", "fp8"), 0, ((1, False),), (bench,), tuple(entry(n) for n in range(entries)), {})
