"""The typed model of results.json: what it reads and writes again is the same to the byte."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support import SHARED_DATA, stamp_grades

from bitparity.results.build import write
from bitparity.results.schema import SCHEMA, Benchmark, Comparison, Guard, Results
from bitparity.store.run import Run

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").rglob("results.json"))
RECORDED = SHARED_DATA / "recorded-1.5b" / "run.tar.xz"


def again(text: str) -> str:
    """A stored document, read by the model and written as `write` does."""
    return dumped(Results.model_validate(json.loads(text)).document())


def dumped(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_a_stored_document_is_written_again_as_it_was(path: Path) -> None:
    text = path.read_text("utf-8")
    assert again(text) == text


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not RECORDED.is_file():
        pytest.skip("the recorded run (../shared/data/recorded-1.5b) is not on this machine")
    folder = tmp_path_factory.mktemp("recorded")
    with tarfile.open(RECORDED) as packed:
        packed.extractall(folder, filter="data")
    return folder / "run"


def take_recovery(expected: Any, made: Any) -> None:
    """Take the intervals of the recovery over: these did not agree with those of the difference at small scores."""
    for key, before in expected.items() if isinstance(expected, dict) else ():
        if key == "recovery_ci95" and before is not None:
            assert before == pytest.approx(made[key], abs=0.15)  # 0.01 where half is right
            expected[key] = made[key]
        elif key in made:
            take_recovery(before, made[key])


def test_a_recorded_run_gives_the_stored_document(recorded: Path) -> None:
    stored = (recorded / "results.json").read_text("utf-8")
    assert again(stored) == stored
    stamp_grades(recorded)  # how answers are read may have changed; how grades become results has not
    write(Run(recorded))
    text = (recorded / "results.json").read_text("utf-8")
    assert again(text) == text
    made, expected = json.loads(text), json.loads(stored)
    expected["study"]["fingerprint"] = made["study"]["fingerprint"]  # host paths were taken out of the stored study
    # the stored document knows no correction of "beyond" and no average that names the benchmarks it must not hide
    expected["benchmarks"]["math500"]["comparisons"]["nvfp4"]["verdict"] = "inconclusive"
    # nor that however often 30 items are asked, they prove no margin below 9.5 points
    for comparison in expected["benchmarks"]["aime24"]["comparisons"].values():
        comparison["provable_margin"] = comparison["provable_margin"] and 1 - 0.05 ** (1 / 30)
    # nor loops whose lines are numbered: more answers repeat themselves
    for bench in made["benchmarks"]:
        entries = [document["benchmarks"][bench] for document in (expected, made)]
        before, now = ({g["variant"]: g["value"] for g in e["guards"] if g["name"] == "loops"} for e in entries)
        assert all(before.get(name, 0.0) <= share <= before.get(name, 0.01) + 0.06 for name, share in now.items())
        assert before.keys() <= now.keys()
        for entry in entries:
            entry["guards"] = [guard for guard in entry["guards"] if guard["name"] != "loops"]
    # nor that 3 points are two fifths of the baseline's score
    large = next(g for g in made["benchmarks"]["livecodebench"]["guards"] if g["name"] == "floor")
    assert (large["level"], large["variant"]) == ("warning", "bf16")
    assert "the margin of 3 points is 41.5 % of the baseline's 7.2 %" in large["message"]
    made["benchmarks"]["livecodebench"]["guards"].remove(large)
    for name, hidden in (("fp8", ["aime24"]), ("nvfp4", ["math500", "aime24"]), ("bf16-control", ["aime24"])):
        pooled = expected["overall"][name]
        expected["overall"][name] = {
            **{"benchmarks": pooled["benchmarks"], "of": 5, "hidden": hidden},
            **{key: pooled[key] for key in pooled if key != "benchmarks"},
            "verdict": "inconclusive",
        }
    take_recovery(expected, made)
    for name, pooled in expected["overall"].items():  # drawn at random, otherwise by each version of numpy
        for key in ("p_value", "p_adjusted"):
            assert pooled[key] == pytest.approx(made["overall"][name][key], abs=0.005)
            pooled[key] = made["overall"][name][key]
    # which the stored document has not
    told = [guard.pop("if_right", None) for entry in made["benchmarks"].values() for guard in entry["guards"]]
    assert sum(ranges is not None for ranges in told) == 11  # cut_off, of the baseline and the candidates
    assert (made["study"].pop("date"), made["study"].pop("version")) == ("2026-11-28", "0.1.0")
    decided = made.pop("decisions")
    assert {name: each["decision"] for name, each in decided.items()} == {"fp8": "not_decided", "nvfp4": "deploy_if"}
    assert dumped(made) == dumped(expected)


def guard(variant: str | None, level: Any = "error") -> Guard:
    return Guard(name="floor", variant=variant, level=level, value=0, message="all zeros")


@pytest.mark.parametrize(
    ("spoken", "expected"),
    [(guard(None), True), (guard("a"), True), (guard("c"), False), (guard("a", "warning"), False)],
)
def test_a_guard_forbids_the_figures_of_its_variant_or_of_all(spoken: Guard, expected: bool) -> None:
    assert spoken.forbids("a", "b") is expected


def test_what_was_not_given_stays_out_and_whole_numbers_stay_whole() -> None:
    assert Benchmark(status="not_run", reason="gated", margin=0.05).model_dump(mode="json") == {
        "status": "not_run",
        "reason": "gated",
        "margin": 0.05,
    }
    assert dumped(guard(None).model_dump(mode="json")).count('"value": 0,') == 1


def test_the_roles_of_the_variants() -> None:
    example = Results.model_validate(json.loads(EXAMPLES[0].read_text("utf-8")))
    assert example.schema_ == SCHEMA
    assert example.baseline == "bf16"
    assert example.candidates == ["fp8", "nvfp4"]
    assert example.control == "bf16-control"


def test_an_invalid_comparison_names_its_guards_and_has_no_adjusted_p() -> None:
    document = json.loads(EXAMPLES[0].read_text("utf-8"))
    row = document["benchmarks"]["mmlu_pro"]["comparisons"]["fp8"]
    row |= {"verdict": "invalid", "p_adjusted": None, "invalid_by": ["guessing"]}
    invalid = Results.model_validate(document).benchmarks["mmlu_pro"].comparisons["fp8"]
    assert isinstance(invalid, Comparison)
    assert (invalid.verdict, invalid.p_adjusted, invalid.invalid_by) == ("invalid", None, ("guessing",))
    assert invalid.model_dump(mode="json") == row
