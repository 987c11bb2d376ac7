"""More sealed files that somebody changed: names that look alike, odd members, records and figures of no run."""

from __future__ import annotations

import json
import lzma
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import Cli
from tampering import MANIFEST, SIGNATURE, Rows, edit_rows, member, members, packed, refused, with_manifest

from bitparity.evidence.bundle import entries, read_manifest
from bitparity.evidence.seal import seal
from bitparity.evidence.signature import NAMESPACE
from bitparity.exam.frozen import ExamItem, load_exam, save_exam
from bitparity.results import build, sheet
from bitparity.store.run import Run

Change = Callable[[Path], Any]

# ---------------------------------------------------------------- the archive


def _header(source: Path, place: int, edit: Callable[[bytearray], Any]) -> bytes:
    """The archive with one member's header edited, its checksum made to fit, the content left."""
    raw = bytearray(lzma.decompress(source.read_bytes()))
    with tarfile.open(source) as archive:
        start = archive.getmembers()[place].offset
    head = raw[start : start + 512]
    edit(head)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    raw[start : start + 512] = head
    return lzma.compress(bytes(raw), preset=1)


def _at(where: int, content: bytes) -> Callable[[bytearray], None]:
    return lambda head: head.__setitem__(slice(where, where + len(content)), content)


HEADERS: dict[str, Callable[[bytearray], Any]] = {
    "a sparse file": _at(156, tarfile.GNUTYPE_SPARSE),
    "a file of the oldest type": _at(156, tarfile.AREGTYPE),
    "a contiguous file": _at(156, tarfile.CONTTYPE),
    "a long name": _at(156, tarfile.GNUTYPE_LONGNAME),
    "a header of pax": _at(156, tarfile.XHDTYPE),
    "a size in base 256": lambda head: _at(124, b"\x80" + int(head[124:135], 8).to_bytes(11, "big"))(head),
    "a huge size in base 256": _at(124, b"\x80" + (2**62).to_bytes(11, "big")),
    "a negative size": _at(124, b"\xff" * 12),
    "the magic of POSIX": _at(257, b"ustar\x0000"),
    "another user's number": _at(108, b"0001750\0"),
    "a name with a byte behind its end": lambda head: _at(bytes(head).index(0) + 1, b"x")(head),
}


@pytest.mark.parametrize("place", [0, 1, 5])
@pytest.mark.parametrize("name", HEADERS)
def test_another_header(cli: Cli, sealed: Path, tmp_path: Path, name: str, place: int) -> None:
    (tmp_path / "x").write_bytes(_header(sealed, place, HEADERS[name]))
    refused(cli, tmp_path / "x", "stands where")


@pytest.mark.parametrize(
    "name",
    [
        "ｓtudy.yaml",
        "study.yаml",
        "samples/ｆp8/smoke.jsonl",
        "samples/fp8/smoke\u200b.jsonl",
        "samples/fp8/\u202elnosj.ekoms.jsonl",
        "samples/fp8/smo\u0301ke.jsonl",
        "samples/fp8/SMOKE.jsonl",
        "samples/fp8/smoke.jsonl/../smoke.jsonl",
        "manifest.json",
        "exam/manifest.json",
    ],
)
def test_a_name_that_looks_like_another(cli: Cli, sealed: Path, tmp_path: Path, name: str) -> None:
    found = members(sealed)
    document = json.loads(found[0][1])
    content = found[2][1]
    document["files"][name] = document["files"][found[2][0].name]
    document["files"] = dict(sorted(document["files"].items()))
    found.insert(1 + list(document["files"]).index(name), member(name, content))
    found[0] = found[0][0], (json.dumps(document, indent=1) + "\n").encode()
    (tmp_path / "x").write_bytes(packed(found))
    said = refused(cli, tmp_path / "x", "no file of")
    assert said.isprintable()


def test_a_second_manifest_and_a_stray_signature(cli: Cli, sealed: Path, tmp_path: Path) -> None:
    found = members(sealed)
    for extra in (found[0], member(SIGNATURE, b"-----BEGIN SSH SIGNATURE-----")):
        for place in (1, len(found)):
            (tmp_path / "x").write_bytes(packed([*found[:place], extra, *found[place:]]))
            refused(cli, tmp_path / "x", MANIFEST)


@pytest.mark.parametrize("fill", [b"\0" * 511 + b"x", b"more".ljust(512)])
def test_something_behind_the_end_mark(cli: Cli, sealed: Path, tmp_path: Path, fill: bytes) -> None:
    raw = lzma.decompress(sealed.read_bytes())
    for changed in (raw + fill, raw[:-512] + fill, raw + bytes(512), raw[:-512]):
        (tmp_path / "x").write_bytes(lzma.compress(changed, preset=1))
        refused(cli, tmp_path / "x", "is refused")


# ---------------------------------------------------------------- signatures


def test_a_signature_of_another_purpose_or_key(cli: Cli, run: Path, tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    for name in ("mine", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    found = members(seal(run, tmp_path / "signed", tmp_path / "mine").path)

    def verified(key: str, purpose: str, *options: Any) -> Path:
        command = ["ssh-keygen", "-Y", "sign", "-n", purpose, "-f", tmp_path / key]
        made = subprocess.run(command, input=found[0][1], capture_output=True, check=True).stdout
        (tmp_path / "x").write_bytes(packed([found[0], member(SIGNATURE, made), *found[2:]]))
        return tmp_path / "x"

    for purpose in ("file", "git", NAMESPACE.upper(), NAMESPACE + " "):
        refused(cli, verified("mine", purpose), "its signature is not")
    file = verified("other", NAMESPACE)
    ended = cli("verify", file, "--key", tmp_path / "mine.pub")
    assert (ended.code, ended.err.count("\n"), "its signature is not" in ended.err) == (2, 1, True)
    assert cli("verify", file, "--key", tmp_path / "other.pub").code == 0


# ---------------------------------------------------------------- contents, with a manifest that fits


def _text(path: str, edit: Callable[[str], str]) -> Change:
    def change(folder: Path) -> None:
        before = (folder / path).read_text("utf-8")
        after = edit(before)
        assert after != before
        (folder / path).write_text(after, "utf-8")

    return change


def _figure(value: str) -> Change:
    """The mean of the baseline, by another spelling."""

    def edit(text: str) -> str:
        mean = json.dumps(json.loads(text)["benchmarks"]["smoke"]["scores"]["bf16"]["mean"])
        return text.replace(f'"mean": {mean}', f'"mean": {value}', 1)

    return _text("results.json", edit)


def _rows(path: str, **values: object) -> Change:
    return lambda folder: edit_rows(folder / path, lambda rows: rows[5].update(values))


def _swapped(*paths: str) -> Change:
    """The files of two variants, each in the place of the other's."""

    def change(folder: Path) -> None:
        for path in paths:
            one, other = folder / path.format("fp8"), folder / path.format("nvfp4")
            first = one.read_bytes()
            one.write_bytes(other.read_bytes())
            other.write_bytes(first)

    return change


def _facts_swapped(folder: Path) -> None:
    document = json.loads((folder / "environment.json").read_text())
    variants = document["variants"]
    variants["fp8"], variants["nvfp4"] = variants["nvfp4"], variants["fp8"]
    (folder / "environment.json").write_text(json.dumps(document))


def _exam(edit: Callable[[list[ExamItem]], Any]) -> Change:
    """Another exam, with the hash that fits it."""

    def change(folder: Path) -> None:
        exam = load_exam(folder / "exam/smoke.jsonl")
        items = list(exam.items)
        edit(items)
        save_exam(replace(exam, items=tuple(items)), folder / "exam/smoke.jsonl")

    return change


def _without_a_question(folder: Path) -> None:
    """The exam with one question fewer, and its answers and grades gone too."""
    gone = load_exam(folder / "exam/smoke.jsonl").items[5].item.id
    _exam(lambda items: items.pop(5))(folder)

    def forget(rows: Rows) -> None:
        rows[:] = [row for row in rows if row.get("item") != gone]

    for kind in ("samples", "grades"):
        for path in (folder / kind).rglob("*.jsonl"):
            edit_rows(path, forget)


YAML_BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{'bcdefghi'[n]}: &{'bcdefghi'[n]} [{', '.join(['*' + 'abcdefgh'[n]] * 8)}]\n" for n in range(8)
)
CONTENTS: dict[str, tuple[Change, str]] = {
    "a figure that is NaN": (_figure("NaN"), "is refused"),
    "a figure that is infinite": (_figure("1e999"), "is refused"),
    "a figure as a text": (_figure('"0.9"'), "is refused"),
    "a figure of true": (_figure("true"), "is refused"),
    "a figure of 200 digits": (_figure("0." + "9" * 200), "scores.bf16.mean"),
    "no figure": (_figure("null"), "is refused"),
    "a key twice": (
        _text("results.json", lambda text: text.replace('"overall"', '"overall": {}, "overall"', 1)),
        "not written as bitparity",
    ),
    "results in other line ends": (
        _text("results.json", lambda text: text.replace("\n", "\r\n", 1).replace("{", "{ ", 1)),
        "not written as bitparity",
    ),
    "a mark before the results": (_text("results.json", lambda text: "\ufeff" + text), "is refused"),
    "results without an end": (_text("results.json", lambda text: text[:-40]), "is refused"),
    "deep results": (_text("results.json", lambda _: "[" * 50_000 + "]" * 50_000), "is refused"),
    "results that are a list": (_text("results.json", lambda _: "[]"), "is refused"),
    "facts that are a list": (_text("environment.json", lambda _: "[]"), "is refused"),
    "deep facts": (_text("environment.json", lambda _: '{"a":' * 50_000), "is refused"),
    "facts swapped": (_facts_swapped, "is refused"),
    "samples swapped": (_swapped("samples/{}/smoke.jsonl"), "grades of fp8 on smoke"),
    "grades swapped": (_swapped("grades/{}/smoke.jsonl"), "grades of fp8 on smoke"),
    "samples and grades swapped": (_swapped("samples/{}/smoke.jsonl", "grades/{}/smoke.jsonl"), "results.json"),
    "a grade that is NaN": (_rows("grades/fp8/smoke.jsonl", score=float("nan")), "is refused"),
    "a grade of true": (_rows("grades/fp8/smoke.jsonl", score=True), "is refused"),
    "a grade of an unknown status": (_rows("grades/fp8/smoke.jsonl", status="excellent"), "is refused"),
    "a sample that is a text": (_rows("samples/fp8/smoke.jsonl", sample="0"), "is refused"),
    "a sample of true": (_rows("samples/fp8/smoke.jsonl", sample=True), "is refused"),
    "a sample of less than nothing": (_rows("samples/fp8/smoke.jsonl", sample=-1), "is refused"),
    "an end that is none": (_rows("samples/fp8/smoke.jsonl", finish="well"), "is refused"),
    "an answer of many lines": (_rows("grades/fp8/smoke.jsonl", extracted="a\nb\x1b[2Jverified"), ".extracted"),
    "a line that its checksum does not fit": (
        _text("samples/fp8/smoke.jsonl", lambda text: text.replace('"tokens": 3', '"tokens": 4', 1)),
        "is refused",
    ),
    "a question fewer": (_exam(lambda items: items.pop(5)), "175 of 176 questions"),
    "a question fewer, and its answers": (_without_a_question, "175 of 176 questions"),
    "a question twice": (_exam(lambda items: items.append(items[5])), "177 of 176 questions"),
    "a question in the place of another": (_exam(lambda items: items.__setitem__(5, items[6])), "is refused"),
    "an alias for an alias": (_text("study.yaml", lambda _: YAML_BOMB), "is refused"),
    "a study that is code": (
        _text("study.yaml", lambda _: "!!python/object/apply:os.system ['touch /tmp/x']"),
        "is refused",
    ),
    "a name of the study in many lines": (
        _text("study.yaml", lambda text: text.replace("sealed", '"a\\nverified"')),
        "is refused",
    ),
    "a file of zeros": (lambda folder: (folder / "samples/fp8/smoke.jsonl").write_bytes(bytes(2**22)), "is refused"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_other_contents_with_a_manifest_that_fits(cli: Cli, sealed: Path, tmp_path: Path, name: str) -> None:
    change, why = CONTENTS[name]
    assert refused(cli, with_manifest(sealed, tmp_path / "x", change), why).isprintable()


def _results_too(change: Change, monkeypatch: pytest.MonkeyPatch) -> Change:
    """The change, and results that follow from it."""

    def both(folder: Path) -> None:
        change(folder)
        with monkeypatch.context() as patched:
            patched.setattr(sheet, "regraded_otherwise", lambda *_: None)
            build.write(Run(folder))

    return both


def test_a_question_left_out_of_everything(
    cli: Cli, sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = with_manifest(sealed, tmp_path / "x", _results_too(_without_a_question, monkeypatch))
    refused(cli, changed, "175 of 176 questions")


def test_another_margin_with_the_results_of_before(cli: Cli, sealed: Path, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        document = yaml.safe_load((folder / "study.yaml").read_text("utf-8"))
        document["study"]["benchmarks"][0]["margin"] = 50.0
        document["fingerprint"] = fingerprint
        (folder / "study.yaml").write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")

    fingerprint = "0" * 16
    first = with_manifest(sealed, tmp_path / "first", change)
    refused(cli, first, "its manifest is of the study")
    fingerprint = Run(tmp_path / "first.unpacked").study().fingerprint()
    refused(cli, with_manifest(sealed, tmp_path / "x", change, fingerprint=fingerprint), "results.json")


def test_grades_that_nobody_shall_make_again(
    cli: Cli, sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A benchmark that is said to be withheld is not graded again: so its questions must not be inside."""
    better = _results_too(_rows("grades/fp8/smoke.jsonl", score=1.0, metrics={"exact_match": 1.0}), monkeypatch)
    refused(cli, with_manifest(sealed, tmp_path / "x", better, withheld=["smoke"]), "withholds smoke")


def test_originals_of_what_is_whole(cli: Cli, sealed: Path, tmp_path: Path) -> None:
    found = members(sealed)
    manifest = read_manifest(found[0][1], sealed)
    (tmp_path / "study.yaml").write_text("another study")
    other = manifest.model_copy(update={"originals": entries(tmp_path, ["study.yaml"])})
    (tmp_path / "x").write_bytes(packed([(found[0][0], other.text()), *found[1:]]))
    refused(cli, tmp_path / "x", "nothing is withheld")
