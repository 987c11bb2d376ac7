"""`bitparity grade` after a grader changed: everything is graded anew from the samples, and what changed is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import Cli, replay_study, write_jsonl

from bitparity.benchmarks.math500 import Math500
from bitparity.records import Completion, Grade, Item
from bitparity.store.jsonl import checked_line, parsed_line


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graders run here, where a test can change them."""
    monkeypatch.setattr(Math500, "slow_grader", False)


def lines(run: Path, variant: str) -> list[str]:
    return (run / "grades" / variant / "math500.jsonl").read_text().splitlines()


def test_a_changed_grader_shows_item_by_item(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    cli("run", replay_study(tmp_path), "--out", run)
    samples = {path: path.read_bytes() for path in (run / "samples").rglob("*.jsonl")}
    before = lines(run, "fp8")
    same = cli("grade", run)
    assert "fp8 math500: 0 changed" in same.out
    assert lines(run, "fp8") == before

    honest = Math500.grade

    def kinder(self: Math500, item: Item, completion: Completion) -> Grade:
        if item.id == "test/sums/2.json":
            return Grade(1.0, "answered", "4", {"math_verify": 1.0, "lm_eval_exact_match": 0.0})
        return honest(self, item, completion)

    monkeypatch.setattr(Math500, "grade", kinder)
    changed = cli("grade", run)
    assert "bf16 math500: 1 changed: test/sums/2.json#0" in changed.out
    assert "fp8 math500: 1 changed: test/sums/2.json#0" in changed.out
    scores = json.loads((run / "results.json").read_text())["benchmarks"]["math500"]["scores"]
    assert scores["fp8"]["mean"] == pytest.approx(11 / 12)  # item 1 is still wrong, item 2 now right
    assert {path: path.read_bytes() for path in samples} == samples  # raw completions are never touched

    monkeypatch.setattr(Math500, "grade", honest)
    cli("grade", run)
    assert lines(run, "fp8") == before


def test_grades_of_another_grader_count_nowhere(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "run"
    cli("run", replay_study(tmp_path), "--out", out)
    before, path = (out / "results.json").read_text(), out / "grades" / "fp8" / "math500.jsonl"
    own = path.read_text()
    header, *rows = [parsed_line(line, path, 0) for line in own.encode().splitlines()]
    raised = [{**row, "score": 1.0} for row in rows]

    for command in ("report", "check", "export"):
        arguments = ["--format", "csv"] if command == "export" else []
        path.write_bytes(b"".join(map(checked_line, [{**header, "grader": "0" * 16}, *raised])))
        cli(command, out, *arguments)
        assert path.read_text() == own
        write_jsonl(path, [header, *raised])  # as an earlier version wrote it, without checksums
        cli(command, out, *arguments)
        assert path.read_text() == own
    write_jsonl(path, [header, *raised])
    refused = cli("compare", f"{out}:bf16", f"{out}:fp8")
    assert refused.code == 2
    assert f"Make them again with: bitparity grade {out}" in refused.err
    cli("report", out)
    assert (out / "results.json").read_text() == before
    for edited, said in (
        (own.replace('"score": 0.0', '"score": 1.0'), "line 10: its checksum does not fit"),
        (
            own.splitlines()[0] + "\n" + "".join(json.dumps(row) + "\n" for row in raised),
            "line 2: its checksum is missing",
        ),
    ):
        path.write_text(edited)  # under the right fingerprint
        for command in ("report", "check"):
            refused = cli(command, out)
            assert refused.code == 3
            assert f"fp8/math500.jsonl, {said}" in refused.err


def test_a_grade_edited_with_its_checksum_is_told(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "run"
    cli("run", replay_study(tmp_path), "--out", out)
    path = out / "grades" / "fp8" / "math500.jsonl"
    own = path.read_text()
    header, *rows = [parsed_line(line, path, 0) for line in own.encode().splitlines()]
    wrong = next(row for row in rows if row["score"] == 0.0)
    path.write_bytes(b"".join(map(checked_line, [header, *({**r, "score": 1.0} if r is wrong else r for r in rows)])))
    for command in (["report", out], ["check", out], ["compare", f"{out}:bf16", f"{out}:fp8"]):
        refused = cli(*command)
        assert refused.code == 2
        assert f"the stored grade of item '{wrong['item']}', sample 0, is not what the grader gives" in refused.err
    cli("grade", out)
    assert path.read_text() == own


def test_an_answer_to_a_question_that_was_not_asked_is_told(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "run"
    cli("run", replay_study(tmp_path), "--out", out)
    path = out / "samples" / "fp8" / "math500.jsonl"
    row = {k: v for k, v in json.loads(path.read_text().splitlines()[0]).items() if k != "crc32"}
    path.write_text(path.read_text() + json.dumps({**row, "item": "of another exam"}) + "\n")
    for command in ("grade", "report", "check"):
        ended = cli(command, out)
        assert ended.code == 3
        assert "has an answer to the item 'of another exam', which is not in the exam" in ended.err
