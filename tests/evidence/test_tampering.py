"""Sealed files that somebody changed: each is refused in one line, whatever was changed and however consistently."""

from __future__ import annotations

import json
import lzma
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from smoke_runs import smoke_run
from support import Cli
from tampering import MANIFEST, Members, Rows, edit_rows, member, members, packed, refused, with_manifest

from bitparity.evidence.seal import seal
from bitparity.results import build, sheet
from bitparity.store.jsonl import write_json
from bitparity.store.run import Run

Change = Callable[[Members], Any]


# ---------------------------------------------------------------- raw bytes


@pytest.mark.parametrize("where", range(40))
def test_one_bit(cli: Cli, sealed: Path, tmp_path: Path, where: int) -> None:
    content = bytearray(sealed.read_bytes())
    content[where * (len(content) - 1) // 39] ^= 1 << where % 8
    (tmp_path / "x").write_bytes(content)
    refused(cli, tmp_path / "x", "is refused")


@pytest.mark.parametrize("part", [0, 1, 6, 11, 12, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, -33, -12, -2, -1])
def test_a_truncated_archive(cli: Cli, sealed: Path, tmp_path: Path, part: float) -> None:
    content = sealed.read_bytes()
    (tmp_path / "x").write_bytes(content[: part if isinstance(part, int) else int(part * len(content))])
    refused(cli, tmp_path / "x", "it ends too early")


@pytest.mark.parametrize("more", [b"\0", b"more", bytes(512), lzma.compress(b""), lzma.compress(b"more")])
def test_bytes_after_the_end(cli: Cli, sealed: Path, tmp_path: Path, more: bytes) -> None:
    (tmp_path / "x").write_bytes(sealed.read_bytes() + more)
    refused(cli, tmp_path / "x", "more follows its end")


# ---------------------------------------------------------------- the archive


def _swap(found: Members) -> None:
    one, other = (
        next(n for n, (i, _) in enumerate(found) if i.name == f"samples/{v}/smoke.jsonl") for v in ("bf16", "fp8")
    )
    found[one], found[other] = (found[one][0], found[other][1]), (found[other][0], found[one][1])


def _rename(name: str) -> Change:
    return lambda found: setattr(found[-1][0], "name", name)


def _replace(kind: bytes, target: str = "/etc/passwd") -> Change:
    return lambda found: found.__setitem__(3, member(found[3][0].name, kind=kind, target=target))


def _manifest(edit: Callable[[dict[str, Any]], Any]) -> Change:
    def change(found: Members) -> None:
        document = json.loads(found[0][1])
        edit(document)
        found[0] = found[0][0], (json.dumps(document, indent=1) + "\n").encode()

    return change


def _bytes(edit: Callable[[bytes], bytes]) -> Change:
    return lambda found: found.__setitem__(0, (found[0][0], edit(found[0][1])))


ARCHIVES: dict[str, tuple[Change, str]] = {
    "swapped files": (_swap, "stands where the manifest has"),
    "swapped places": (lambda found: found.insert(2, found.pop()), "stands where the manifest has"),
    "a path outside": (_rename("../../outside"), "'../../outside'"),
    "an absolute path": (_rename("/tmp/outside"), "stands where the manifest has"),
    "a link": (_replace(tarfile.SYMTYPE), "a link"),
    "a hard link": (_replace(tarfile.LNKTYPE, "study.yaml"), "a link"),
    "a device": (_replace(tarfile.CHRTYPE), "a device"),
    "a block device": (_replace(tarfile.BLKTYPE), "a device"),
    "a pipe": (_replace(tarfile.FIFOTYPE), "a pipe"),
    "a folder": (_replace(tarfile.DIRTYPE), "a folder"),
    "a name twice": (lambda found: found.insert(3, found[3]), "stands where the manifest has"),
    "the manifest twice": (lambda found: found.insert(0, found[0]), "stands where the manifest has"),
    "a missing file": (lambda found: found.pop(4), "stands where the manifest has"),
    "no last file": (lambda found: found.pop(), "stands where the manifest has"),
    "one more file": (lambda found: found.append(member("more.txt", b"more")), "'more.txt'"),
    "no manifest": (lambda found: found.pop(0), "stands where manifest.json should"),
    "nothing": (lambda found: found.clear(), "stands where manifest.json should"),
    "another mode": (lambda found: setattr(found[2][0], "mode", 0o4755), "stands where the manifest has"),
    "another owner": (lambda found: setattr(found[2][0], "uname", "root"), "stands where the manifest has"),
    "another time": (lambda found: setattr(found[2][0], "mtime", 1), "stands where the manifest has"),
    "a longer file": (lambda found: found.__setitem__(2, (found[2][0], found[2][1] + b"\n")), "stands where"),
    "no JSON": (_bytes(lambda content: b"{" + content), "no JSON"),
    "deep JSON": (_bytes(lambda content: b"[" * 100_000), "no JSON"),
    "other spaces": (_bytes(lambda content: content + b"\n"), "was not written by bitparity"),
    "a key twice": (
        _bytes(lambda content: content.replace(b'{\n "schema"', b'{\n "study": "other",\n "schema"')),
        "written",
    ),
    "another schema": (_manifest(lambda m: m.update(schema="bitparity/evidence/2")), "'schema'"),
    "an unknown key": (_manifest(lambda m: m.update(more=1)), "'more'"),
    "no files": (_manifest(lambda m: m.update(files={})), "stands where the manifest has its end"),
    "a listed path outside": (_manifest(lambda m: m["files"].update({"../x": m["files"]["study.yaml"]})), "'files'"),
    "a listed hidden file": (
        _manifest(lambda m: m["files"].update({"exam/.x.jsonl": m["files"]["study.yaml"]})),
        "'files'",
    ),
    "a negative size": (_manifest(lambda m: m["files"]["study.yaml"].update(bytes=-1)), "bytes"),
    "another order": (_manifest(lambda m: m.update(files=dict(reversed(m["files"].items())))), "not in order"),
    "another hash": (_manifest(lambda m: m["files"]["study.yaml"].update(sha256="0" * 64)), "its hash is another"),
    "a bomb that is announced": (_manifest(lambda m: m["files"]["study.yaml"].update(bytes=2**40)), "bytes"),
    "a signature that is not there": (_manifest(lambda m: m.update(signed=True)), "where manifest.json.sig should"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_another_archive(cli: Cli, sealed: Path, tmp_path: Path, name: str) -> None:
    change, why = ARCHIVES[name]
    found = members(sealed)
    change(found)
    (tmp_path / "x").write_bytes(packed(found))
    refused(cli, tmp_path / "x", why)


def test_an_archive_that_is_packed_anew_without_a_change_is_none_of_these(
    cli: Cli, sealed: Path, tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes(packed(members(sealed)))
    assert cli("verify", tmp_path / "x").code == 0


def test_the_manifest_of_another_run(cli: Cli, sealed: Path, tmp_path: Path) -> None:
    other = members(seal(smoke_run(tmp_path, protocol={"seed": 7})).path)
    found = members(sealed)
    (tmp_path / "x").write_bytes(packed([other[0], *found[1:]]))
    refused(cli, tmp_path / "x", "is refused")


def test_a_bomb_is_not_unpacked(cli: Cli, sealed: Path, tmp_path: Path) -> None:
    content = lzma.decompress(sealed.read_bytes())
    (tmp_path / "x").write_bytes(lzma.compress(content[:-1024] + bytes(2**28), preset=1))
    assert (tmp_path / "x").stat().st_size < 100_000
    refused(cli, tmp_path / "x", "more follows what the manifest lists")
    info, _ = member(MANIFEST)
    info.size = 2**33
    (tmp_path / "x").write_bytes(lzma.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(2**26), preset=1))
    refused(cli, tmp_path / "x", "stands where manifest.json should")


def test_an_archive_that_wants_much_memory(cli: Cli, sealed: Path, tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**28}]
    (tmp_path / "x").write_bytes(lzma.compress(lzma.decompress(sealed.read_bytes()), filters=filters))
    refused(cli, tmp_path / "x", "damaged, or no .tar.xz")


@pytest.mark.parametrize("kind", ["folder", "absent", "gzip", "empty"])
def test_no_sealed_file(cli: Cli, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind != "absent":
        path.write_bytes(b"\x1f\x8b" + bytes(40) if kind == "gzip" else b"")
    refused(cli, path, str(path))


# ---------------------------------------------------------------- contents, with a manifest that fits


def _results_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results that follow from what is in the folder, whatever was edited there."""
    with monkeypatch.context() as patched:
        patched.setattr(sheet, "regraded_otherwise", lambda *_: None)
        build.write(Run(folder))


@pytest.mark.parametrize("variant", ["bf16", "fp8", "nvfp4"])
@pytest.mark.parametrize("row", [1, 2, 60, 100, 150, 176])
def test_a_grade_edited_with_manifest_and_results(
    cli: Cli, sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str, row: int
) -> None:
    def other_grade(rows: Rows) -> None:
        score = 1.0 - rows[row]["score"]
        rows[row] |= {"score": score, "status": "answered", "metrics": {"exact_match": score}}

    def change(folder: Path) -> None:
        edit_rows(folder / "grades" / variant / "smoke.jsonl", other_grade)
        _results_too(folder, monkeypatch)

    said = refused(cli, with_manifest(sealed, tmp_path / "x", change), f"grades of {variant} on smoke: 1 of 176 differ")
    assert ".score " in said
    assert "in the file" in said


def _field(path: str, *keys: str | int, value: object) -> Callable[[Path], None]:
    """Change one value of a JSON document."""

    def change(folder: Path) -> None:
        document = json.loads((folder / path).read_text("utf-8"))
        part = document
        for key in keys[:-1]:
            part = part[key]
        assert part[keys[-1]] != value
        part[keys[-1]] = value
        write_json(folder / path, document)

    return change


def _study(key: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        document = yaml.safe_load((folder / "study.yaml").read_text("utf-8"))
        document["study"]["benchmarks"][0][key] = value
        (folder / "study.yaml").write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")

    return change


def _rows(path: str, edit: Callable[[Rows], Any]) -> Callable[[Path], None]:
    return lambda folder: edit_rows(folder / path, edit)


def _copy(source: str, target: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / source, folder / target)

    return change


CONTENTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a fact": (
        _field("environment.json", "variants", "fp8", "engines", 0, "facts", "version", value="9.9"),
        "variants.fp8",
    ),
    "a score": (_field("results.json", "benchmarks", "smoke", "scores", "fp8", "mean", value=0.99), "scores.fp8.mean"),
    "a verdict": (
        _field("results.json", "benchmarks", "smoke", "comparisons", "nvfp4", "verdict", value="non_inferior"),
        "comparisons.nvfp4.verdict",
    ),
    "no guards": (_field("results.json", "benchmarks", "smoke", "guards", value=[]), "benchmarks.smoke.guards"),
    "a figure too many": (_field("results.json", "overall", value={}), "overall"),
    "another margin": (_study("margin", 50.0), "its manifest is of the study"),
    "an unknown benchmark": (_study("name", "nothing"), "its manifest is of the study"),
    "an answer": (_rows("samples/fp8/smoke.jsonl", lambda rows: rows[1].update(text=" 1")), "grades of fp8 on smoke"),
    "no answer": (_rows("samples/fp8/smoke.jsonl", lambda rows: rows.pop(5)), "grades of fp8 on smoke"),
    "two answers": (
        _rows("samples/fp8/smoke.jsonl", lambda rows: rows.append(rows[1] | {"text": "x"})),
        "another answer",
    ),
    "no grade": (_rows("grades/fp8/smoke.jsonl", lambda rows: rows.pop(5)), "grades of fp8 on smoke"),
    "a grade for nothing": (_rows("grades/fp8/smoke.jsonl", lambda rows: rows.append(rows[5] | {"item": "x"})), "'x'"),
    "a score of 7": (_rows("grades/fp8/smoke.jsonl", lambda rows: rows[5].update(score=7)), "line 6"),
    "an extraction": (_rows("grades/fp8/smoke.jsonl", lambda rows: rows[5].update(extracted="x")), ".extracted"),
    "a reference": (
        _rows("exam/smoke.jsonl", lambda rows: rows[5].update(reference="x")),
        "was changed after it was frozen",
    ),
    "no exam": (lambda folder: (folder / "exam" / "smoke.jsonl").unlink(), "results.json"),
    "no samples": (lambda folder: (folder / "samples" / "fp8" / "smoke.jsonl").unlink(), "grades of fp8 on smoke"),
    "no grades": (lambda folder: (folder / "grades" / "fp8" / "smoke.jsonl").unlink(), "results.json"),
    "no study": (lambda folder: (folder / "study.yaml").unlink(), "study.yaml"),
    "no results": (lambda folder: (folder / "results.json").unlink(), "results.json"),
    "no facts": (lambda folder: (folder / "environment.json").unlink(), "results.json"),
    "another variant's samples": (
        _copy("samples/bf16/smoke.jsonl", "samples/fp8/smoke.jsonl"),
        "grades of fp8 on smoke",
    ),
    "a variant too many": (_copy("samples/bf16/smoke.jsonl", "samples/ghost/smoke.jsonl"), "no file of its study"),
    "no YAML": (lambda folder: (folder / "study.yaml").write_text("{"), "study.yaml"),
    "much YAML": (lambda folder: (folder / "study.yaml").write_text("a" * 2**21), "its study is too large"),
    "no results in JSON": (lambda folder: (folder / "results.json").write_text("{}"), "contradict each other"),
    "results in other spaces": (
        lambda folder: (folder / "results.json").write_text((folder / "results.json").read_text() + " "),
        "not written as bitparity",
    ),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_other_contents_with_a_manifest_that_fits(cli: Cli, sealed: Path, tmp_path: Path, name: str) -> None:
    change, why = CONTENTS[name]
    refused(cli, with_manifest(sealed, tmp_path / "x", change), why)


def test_a_benchmark_that_is_said_to_be_withheld_and_is_none(cli: Cli, sealed: Path, tmp_path: Path) -> None:
    changed = with_manifest(sealed, tmp_path / "x", lambda _: None, withheld=["gpqa_diamond"])
    refused(cli, changed, "it withholds gpqa_diamond")


def test_other_code_is_a_doubt_and_no_pass(cli: Cli, sealed: Path, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        edit_rows(folder / "grades/fp8/smoke.jsonl", lambda rows: rows[0].update(grader="0" * 16))

    ended = cli("verify", with_manifest(sealed, tmp_path / "same", change))
    assert ended.code == 0
    assert ended.out.count("another version of it made the grades of smoke") == 1

    def edit(folder: Path) -> None:
        change(folder)
        edit_rows(folder / "grades/fp8/smoke.jsonl", lambda rows: rows[2].update(score=0.5))

    ended = cli("verify", with_manifest(sealed, tmp_path / "other", edit))
    assert ended.code == 3
    assert "doubt: grades of fp8 on smoke: 1 of 176 differ" in ended.out
    assert "not verified" in ended.out
