"""Damaged study, data, recording and run files: an exit code of the design, no traceback, and an end within seconds."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from support import Cli, replay_study

EXIT_CODES = {0, 1, 2, 3, 130}
MOST_SECONDS = 20.0
# the whole property is 2,000 files; each run of the tests tries some of them, and a variable asks for more
CASES = int(os.environ.get("BITPARITY_MUTATIONS", "240"))

DEEP = "[" * 3000
NASTY: tuple[object, ...] = (
    *(None, True, -1, 0, 10**30, -(10**400), 1e308, float("inf"), float("nan"), 0.5, 2**63),
    *(
        "",
        " ",
        "\0",
        "a" * 5000,
        "../../../etc/passwd",
        "/dev/zero",
        "/proc/self/mem",
        "😀",
        "\ud800",
        "2026-02-30",
        "<b>",
    ),
    *("\x1b[2J", "1e999", "NaN", "{{x}}", "%s%n", "a/b", ".", "..", "nul\nline"),
    *([], {}, [[]], {"": {}}, [None], {"a": {"b": {"c": []}}}, list(range(2000)), {"name": "math500"}, [1, "a", None]),
)
STUDY_FILES = ("study.yaml", "math.jsonl", "fp8.jsonl")
RUN_FILES = (
    "study.yaml",
    "environment.json",
    "exam/math500.jsonl",
    "samples/fp8/math500.jsonl",
    "grades/fp8/math500.jsonl",
)


def places(value: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """The path of every node of a document but the root."""
    nodes = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in nodes:
        yield (*path, key)
        yield from places(below, (*path, key))


def change_node(document: object, chance: random.Random) -> None:
    """Replace, delete or double a random node of a document in place."""
    every = list(places(document))
    if not every:
        return
    *path, last = chance.choice(every)
    parent: object = document
    for key in path:
        parent = parent[key]  # type: ignore[index]
    assert isinstance(parent, dict | list)
    what = chance.randrange(4)
    if what == 0 and isinstance(parent, dict):
        del parent[last]
    elif what == 1 and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[last]))  # type: ignore[index]
    elif what == 2 and isinstance(parent, dict):
        parent[chance.choice(["", "x", f"{last}s", 7, "\ud800"])] = copy.deepcopy(parent[last])
    else:
        parent[last] = copy.deepcopy(chance.choice(NASTY))  # type: ignore[index]


def changed_document(text: str, name: str, chance: random.Random) -> str:
    """The text with some nodes of it changed: of a YAML or JSON document, or of one line of a JSONL file."""
    if name.endswith(".jsonl"):
        lines = text.splitlines()
        at = chance.randrange(len(lines))
        lines[at] = changed_document(lines[at], "line.json", chance)
        return "\n".join(lines) + "\n"
    document = yaml.safe_load(text) if name.endswith(".yaml") else json.loads(text)
    for _ in range(chance.choice([1, 1, 2, 5])):
        change_node(document, chance)
    return yaml.safe_dump(document, allow_unicode=False) if name.endswith(".yaml") else json.dumps(document)


def changed_bytes(raw: bytes, chance: random.Random) -> bytes:
    """The bytes with one place of them damaged."""
    first, last = sorted(chance.randrange(len(raw) + 1) for _ in range(2))
    ways: list[Callable[[], bytes]] = [
        lambda: raw[:first],
        lambda: raw[:first] + raw[last:],
        lambda: raw[:last] + raw[first:],
        lambda: raw[:first] + bytes([chance.randrange(256)]) + raw[first + 1 :],
        lambda: (
            raw[:first]
            + chance.choice([b"\0", b"\xff\xfe", b"\r", b"\n\n", b"&a [*a]", b"!!python/name:os", b": - "])
            + raw[first:]
        ),
        lambda: raw[:first] + DEEP.encode() + raw[first:],
        lambda: b"",
        lambda: b"\x1f\x8b" + raw,
        lambda: chance.randbytes(300),
        lambda: raw * 3,
    ]
    return chance.choice(ways)()


def replace(path: Path, chance: random.Random) -> None:
    """Put something in the place of a file that is no file with text in it."""
    path.unlink()
    what = chance.randrange(5)
    if what == 0:
        os.mkfifo(path)
    elif what == 1:
        path.mkdir()
    elif what == 2:
        path.symlink_to("/dev/zero")
    elif what == 3:
        path.symlink_to(path.name)
    else:
        with path.open("wb") as file:
            file.truncate(2**31)


def damage(path: Path, chance: random.Random) -> None:
    """Damage one file in one of the ways above."""
    way = chance.random()
    if way < 0.1:
        replace(path, chance)
    elif way < 0.4:
        path.write_bytes(changed_bytes(path.read_bytes(), chance))
    else:
        path.write_text(changed_document(path.read_text(), path.name, chance), errors="surrogatepass")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study, its data, its recordings and its finished run."""
    folder = tmp_path_factory.mktemp("made")
    study = replay_study(folder, wrong={"fp8": range(3)})
    from bitparity.progress.events import Events
    from bitparity.report.exports import export
    from bitparity.runner import run_study
    from bitparity.store.run import Run
    from bitparity.study.resolve import load_study

    run_study(load_study(study), folder / "run", Events())
    assert export(Run(folder / "run"), "csv", None)
    return folder


def command(folder: Path, name: str, chance: random.Random) -> tuple[object, ...]:
    """A command that reads the damaged file."""
    run = folder / "run"
    if not name.startswith("run/"):
        choices: list[tuple[object, ...]] = [("plan", folder / "study.yaml"), ("doctor", folder / "study.yaml")]
        if name != "study.yaml":
            choices = [("compare", folder / "bf16.jsonl", folder / name), ("plan", folder / "study.yaml")]
        if chance.random() < 0.2:
            choices = [("run", folder / "study.yaml", "--out", folder / "again")]
        return chance.choice(choices)
    choices = [
        ("report", run),
        ("check", run),
        ("compare", f"{run}:bf16", f"{run}:fp8"),
        ("export", run, "--format", "csv"),
    ]
    return chance.choice([*choices, ("status", run), ("run", folder / "study.yaml", "--out", run)])


@pytest.mark.slow
def test_no_damaged_file_gives_a_traceback_or_a_wait(made: Path, tmp_path: Path, cli: Cli) -> None:
    faults: list[str] = []
    start = int(os.environ.get("BITPARITY_MUTATIONS_FROM", "0"))
    for seed in range(start, start + CASES):
        chance = random.Random(seed)
        folder = tmp_path / str(seed)
        shutil.copytree(made, folder)
        name = chance.choice([*STUDY_FILES, *(f"run/{name}" for name in RUN_FILES)])
        damage(folder / name, chance)
        words = command(folder, name, chance)
        began = time.monotonic()
        ended = cli(*words)
        took = time.monotonic() - began
        shutil.rmtree(folder)
        told = f"seed {seed}: {name} damaged, {words}: exit {ended.code} after {took:.1f} s\n{ended.err[-1500:]}"
        if ended.code not in EXIT_CODES or "Traceback" in ended.err or took > MOST_SECONDS:
            faults.append(told)
    assert not faults, f"{len(faults)} faults\n\n" + "\n\n".join(faults)
