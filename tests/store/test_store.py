from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bitparity.errors import RunError, StoreError
from bitparity.records import Grade, Sample, SampleKeys
from bitparity.schema import Study
from bitparity.store.jsonl import AppendLog, read_lines, write_json
from bitparity.store.rows import grade_from_row, grade_to_row, sample_from_row, sample_to_row
from bitparity.store.run import Run, WritableRun, study_difference
from bitparity.study.resolve import parse_study

# any code point, lone surrogates too; two that make a pair are one code point, as wherever JSON is read
TEXT = st.text(st.characters(codec=None), max_size=40).map(
    lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
)


def a_study(**changes: str) -> Study:
    text = "study: s\nvariants: {a: {model: x/y}}\nengine: {batch_size: 4}\nbenchmarks: [smoke]\n"
    for old, new in changes.items():
        text = text.replace(old, new)
    return parse_study(text, "study.yaml", Path())


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    finish = draw(st.sampled_from(["stop", "length", "error"]))
    return Sample(
        benchmark="b",
        item=draw(TEXT),
        sample=draw(st.integers(0, 99)),
        text=draw(TEXT),
        finish=finish,
        tokens=draw(st.integers(0, 10**6)),
        prompt_tokens=draw(st.integers(0, 10**6)),
        seconds=draw(st.floats(0, 1e6)),
        logprobs=draw(st.none() | st.lists(st.tuples(st.floats(-1e4, 0), st.booleans()), max_size=4).map(tuple)),
        error="why" if finish == "error" else None,
        served_model=draw(st.none() | TEXT),
    )


@pytest.mark.parametrize("item", ["q", "\ud83d"])
def test_a_lone_surrogate_is_stored_as_utf_8_and_comes_back(tmp_path: Path, item: str) -> None:
    run, given = Run(tmp_path), Sample("b", item, 0, "half \ud83d of it", "stop", 3, 9, 0.1)
    path = run.samples_path("v", "b")
    log = AppendLog(path)
    log.append([sample_to_row(given)])
    log.close()
    assert path.read_bytes().decode("utf-8").count("\\ud83d") == (1 if item == "q" else 2)
    assert run.samples("v", "b") == {(item, 0): given}
    old = json.dumps(sample_to_row(given) | {"sample": 1}, ensure_ascii=False) + "\n"
    path.write_bytes(path.read_bytes() + old.encode("utf-8", "surrogatepass"))  # as it was written before
    assert set(run.done("v", "b")) == set(run.samples("v", "b")) == {(item, 0), (item, 1)}
    write_json(tmp_path / "one.json", {"text": given.text})
    assert json.loads((tmp_path / "one.json").read_text()) == {"text": given.text}


@settings(max_examples=60)
@given(st.lists(samples(), max_size=8), st.data())
def test_a_file_cut_at_any_byte_loses_only_the_record_that_was_torn(
    tmp_path_factory: pytest.TempPathFactory, written: list[Sample], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("log") / "s.jsonl"
    log = AppendLog(path)
    log.append(sample_to_row(s) for s in written)
    log.close()
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])

    kept = [sample_from_row(row, "b") for row in read_lines(path)]
    assert kept == written[: whole[:cut].count(b"\n")]

    log = AppendLog(path)  # opening drops the torn line, so that what follows stands on a line of its own
    log.append([sample_to_row(written[0])] if written else [])
    log.close()
    assert [sample_from_row(row, "b") for row in read_lines(path)] == kept + written[:1]


def test_grades_come_back_as_they_were() -> None:
    grade = Grade(0.5, "answered", "12", {"exact": 0.5}, {"note": [1, {"a": None}]})
    assert grade_from_row(grade_to_row(("item", 3), grade)) == (("item", 3), grade)


@pytest.mark.parametrize("field", ["item", "sample", "text", "finish", "tokens", "logprobs", "error"])
def test_a_sample_that_lacks_a_field_is_told_by_file_and_line(tmp_path: Path, field: str) -> None:
    run, row = Run(tmp_path), sample_to_row(Sample("b", "q", 0, "text", "stop", 3, 2, 1.0))
    path = run.samples_path("v", "b")
    path.parent.mkdir(parents=True)
    del row[field]
    path.write_text(json.dumps(row) + "\n")  # as earlier versions wrote it, without a checksum
    with pytest.raises(StoreError, match=f"{path}, line 1"):
        run.samples("v", "b")


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": "3"},
        {"tokens": True},
        {"sample": "0"},
        {"text": 7},
        {"seconds": "1"},
        {"logprobs": [["-1", 1]]},
    ],
)
def test_a_field_of_another_type_is_not_taken_for_the_right_one(change: dict[str, object]) -> None:
    row = sample_to_row(Sample("b", "q", 0, "text", "stop", 3, 2, 1.0, ((-0.5, True),)))
    given = json.loads(json.dumps(row))
    assert sample_from_row(given, "b").logprobs == ((-0.5, True),)
    with pytest.raises(ValueError, match="."):
        sample_from_row(given | change, "b")


@pytest.mark.parametrize(
    "change",
    [
        {"score": 1.5},
        {"score": "1"},
        {"score": float("nan")},
        {"score": []},
        {"item": ["q"]},
        {"sample": True},
        {"status": 7},
    ],
)
def test_a_damaged_grade_is_refused(change: dict[str, object]) -> None:
    row = grade_to_row(("q", 0), Grade(1.0, "answered", "12"))
    with pytest.raises(ValueError, match="."):
        grade_from_row(row | change)
    for field in row:
        with pytest.raises(ValueError, match="."):
            grade_from_row({name: value for name, value in row.items() if name != field})


def test_a_failed_sample_is_not_done_and_a_later_success_counts(tmp_path: Path) -> None:
    run = Run(tmp_path)
    failed = Sample("b", "i", 0, "", "error", 0, 0, 0.0, error="lost")
    good = Sample("b", "i", 0, "yes", "stop", 1, 1, 0.1)
    log = AppendLog(run.samples_path("v", "b"))
    log.append([sample_to_row(failed)])
    assert run.done("v", "b") == set()
    log.append([sample_to_row(good), sample_to_row(replace(good, seconds=0.2))])
    log.close()
    assert run.done("v", "b") == {("i", 0)}
    assert run.samples("v", "b")[("i", 0)] == good


def test_two_answers_to_one_question_are_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    good = Sample("b", "i", 0, "yes", "stop", 1, 1, 0.1)
    log = AppendLog(run.samples_path("v", "b"))
    log.append(map(sample_to_row, [good, replace(good, sample=1), replace(good, text="no")]))
    log.close()
    with pytest.raises(StoreError, match=r"b\.jsonl, line 3: another answer to i#0"):
        run.samples("v", "b")


@settings(max_examples=100)
@given(st.lists(samples(), min_size=1, max_size=4), st.data())
def test_a_flipped_bit_is_an_error_or_changes_no_answer(
    tmp_path_factory: pytest.TempPathFactory, written: list[Sample], data: st.DataObject
) -> None:
    run = Run(tmp_path_factory.mktemp("flip"))
    written = [replace(s, sample=number) for number, s in enumerate(written)]
    path = run.samples_path("v", "b")
    log = AppendLog(path)
    log.append(sample_to_row(s) for s in written)
    log.close()
    good, whole = run.samples("v", "b"), bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole)
    try:
        assert run.samples("v", "b").items() <= good.items()
        assert run.done("v", "b") <= good.keys()
    except StoreError as error:
        assert f"b.jsonl, line {whole[:place].count(10) + 1}: " in str(error)  # noqa: PT017


def test_lines_of_earlier_versions_have_no_checksum_and_are_read(tmp_path: Path) -> None:
    run, old = Run(tmp_path), Sample("b", "i", 0, "yes", "stop", 1, 1, 0.1)
    path = run.samples_path("v", "b")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(sample_to_row(old)) + "\n")
    log = AppendLog(path)
    log.append([sample_to_row(replace(old, sample=1))])
    log.close()
    assert list(run.samples("v", "b")) == [("i", 0), ("i", 1)]
    path.write_bytes(path.read_bytes().replace(b"yes", b"yea"))
    with pytest.raises(StoreError, match=r"b\.jsonl, line 2: its checksum does not fit; .* Delete that line"):
        run.done("v", "b")


@settings(max_examples=100)
@given(st.lists(samples(), max_size=12), st.data())
def test_what_is_done_is_found_without_parsing_as_parsing_finds_it(
    tmp_path_factory: pytest.TempPathFactory, written: list[Sample], data: st.DataObject
) -> None:
    run = Run(tmp_path_factory.mktemp("done"))
    hostile = ['", "finish": "error"', '\\", "finish": "stop"}', '{"item": "x", "sample": 3, "text": "', "a\\", "\0"]
    texts = st.sampled_from(hostile) | TEXT
    written = [replace(s, text=data.draw(texts), item=data.draw(texts)) for s in written]
    log = AppendLog(run.samples_path("v", "b"))
    log.append(sample_to_row(s) for s in written)
    log.close()
    expected = {(s.item, s.sample) for s in written if s.finish != "error"}
    assert run.done("v", "b") == expected
    with run.samples_path("v", "b").open("ab") as file:
        file.write(b'{"item": "torn", "sample": 0, "text": "", "finish": "stop"')
    assert run.done("v", "b") == expected


def test_lines_that_were_edited_are_parsed_whole(tmp_path: Path) -> None:
    run = Run(tmp_path)
    path = run.samples_path("v", "b")
    path.parent.mkdir(parents=True)
    path.write_text('{"sample":1,"finish":"stop","item":"i"}\n{"sample":2,"finish":"error","item":"i"}\n')
    assert run.done("v", "b") == {("i", 1)}


@pytest.mark.parametrize(
    "line",
    [
        b"\0\0\0\0",
        b'{"item": "a", "sample": 0, "text": "\0\0", "finish": "stop", "tokens": 1}',
        b'{"item": "a", "sample": 0, "text": "never ended',
        b'{"item": "a", "sample": -1, "text": "", "finish": "stop"}',
        b'{"item": "a", "sample": 99999999, "text": "", "finish": "stop"}',
        b'{"item": 3, "sample": 0, "finish": "stop"}',
        b"[]",
    ],
)
def test_a_broken_line_is_named_when_what_is_done_is_looked_up(tmp_path: Path, line: bytes) -> None:
    run = Run(tmp_path)
    path = run.samples_path("v", "b")
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{"item": "i", "sample": 0, "text": "", "finish": "stop"}\n' + line + b"\n")
    with pytest.raises(StoreError, match=r"b\.jsonl, line 2"):
        run.done("v", "b")


@given(
    st.lists(st.tuples(st.text(max_size=2), st.integers(0, 70))),
    st.lists(st.tuples(st.text(max_size=2), st.integers(0, 70))),
)
def test_keys_are_a_set(some: list[tuple[str, int]], others: list[tuple[str, int]]) -> None:
    keys, plain = SampleKeys(some), set(some)
    assert keys == plain
    assert sorted(keys) == sorted(plain)
    assert len(keys) == len(plain)
    assert all((key in keys) == (key in plain) for key in others)
    for key in others:
        keys.discard(key)
    assert keys == plain - set(others)
    assert SampleKeys(some) | SampleKeys(others) == plain | set(others)


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(b'{"item": 1}\n\0\0\0\n{"item": 2}\n')
    with pytest.raises(StoreError, match=r"s\.jsonl, line 2"):
        list(read_lines(path))


def test_a_full_disk_leaves_the_file_as_it_was_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.jsonl"
    log = AppendLog(path)
    log.append([{"n": 1}])
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="disk is full"):
        log.append([{"n": 2}])
    monkeypatch.undo()
    assert path.read_bytes() == before
    log.append([{"n": 3}])
    log.close()
    assert [row["n"] for row in read_lines(path)] == [1, 3]


def test_a_really_full_disk_loses_nothing_that_was_finished() -> None:
    """/dev/full answers every write with ENOSPC."""
    log = AppendLog.__new__(AppendLog)
    with Path("/dev/full").open("ab", buffering=0) as full:
        log._path, log._file, log.end, log._under = Path("/dev/full"), full, 0, lambda write: write()
        with pytest.raises(StoreError, match="Free some space"):
            log.append([{"n": 1}])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="--out"), WritableRun(tmp_path / "run", a_study()):
        pass


def test_a_file_in_the_way_of_the_run_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="in the way"), WritableRun(tmp_path / "run", a_study()):
        pass


def test_a_second_process_is_refused_and_the_first_is_named(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom bitparity.errors import RunError\n"
        "from bitparity.store.run import WritableRun\n"
        "try:\n    with WritableRun(Path(sys.argv[1])): pass\n"
        "except RunError as error:\n    print(error); sys.exit(2)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with WritableRun(tmp_path, a_study()):
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert second.returncode == 2
        assert f"pid {os.getpid()}" in second.stdout
    assert subprocess.run(command, check=False).returncode == 0


def test_a_changed_study_is_refused_with_the_difference_and_the_old_one_stays(tmp_path: Path) -> None:
    with WritableRun(tmp_path, a_study()):
        pass
    before = (tmp_path / "study.yaml").read_bytes()
    changed = a_study(**{"batch_size: 4": "batch_size: 8"})
    with pytest.raises(RunError, match="engine.batch_size: 4 -> 8"), WritableRun(tmp_path, changed):
        pass
    assert (tmp_path / "study.yaml").read_bytes() == before
    with WritableRun(tmp_path, a_study()):
        pass


def test_a_study_difference_names_what_was_added_and_what_is_gone() -> None:
    changed = a_study(**{"smoke": "{name: smoke, margin: 7}", "a:": "b:"})
    shown = study_difference(a_study(), changed, most=99)
    assert "benchmarks.smoke.margin: 2.0 -> 7.0" in shown
    assert "variants.a.model: x/y -> absent" in shown
    assert "variants.b.model: absent -> x/y" in shown


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run directory"):
        Run(tmp_path).study()
    with pytest.raises(RunError, match="not a run directory"), WritableRun(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(RunError, match=r"cannot be locked \(No locks available\)"), WritableRun(tmp_path, a_study()):
        pass


def test_a_study_of_a_run_with_half_of_a_character_is_refused(tmp_path: Path) -> None:
    with WritableRun(tmp_path, a_study()):
        pass
    path = tmp_path / "study.yaml"
    path.write_text(path.read_text().replace("model: x/y", 'model: "x/\\ud83d"'))
    with pytest.raises(RunError, match="is not the study of a run"):
        Run(tmp_path).study()


def test_a_study_of_a_run_without_variants_is_refused(tmp_path: Path) -> None:
    with WritableRun(tmp_path, a_study()):
        pass
    document = yaml.safe_load((tmp_path / "study.yaml").read_text())
    document["study"]["variants"] = {}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(RunError, match="is not the study of a run"):
        Run(tmp_path).study()
