"""README and docs are true: their commands run word for word, studies load, examples work, links lead somewhere.

Commands are the lines of fenced blocks without a language. Those of `bitparity` run in a shell in a fresh copy of a
small prepared folder, over recorded answers, as processes of their own. What cannot run there stands in `NOT_HERE` with
the reason, and is at least read by the command line's parser.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main
import yaml
from support import answers, install, math_rows, replay_study, write_jsonl, write_yaml

from bitparity.cli import app as cli
from bitparity.evidence.seal import seal
from bitparity.progress.events import Events
from bitparity.report.exports import export
from bitparity.results import build as results
from bitparity.runner import run_study
from bitparity.store.run import Run
from bitparity.study.resolve import load_study, parse_study

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*/*.md")])

DEMO = "it builds a real model, for minutes: tests/test_demo.py and CI do"
GPU_STUDY = "the study names a 32B model for a GPU; tests/test_examples.py loads it"
CLUSTER = "it needs a Ray cluster: tests/cluster/"
PARTS = "its parts are those of several such runs: tests/test_shards.py"
LOGS = "it needs logs of another tool: tests/compare/test_other_logs.py"
DISTANCE = "it needs real models: tests/cli/test_distance.py"
KEY = "it needs an SSH key: tests/evidence/test_verify.py"
NOT_HERE: dict[str, str] = {
    "bitparity seal artifacts/qwen3-32b --key ~/.ssh/id_ed25519": KEY,
    "bitparity verify artifacts/qwen3-32b.evidence.tar.xz --key publisher.pub": KEY,
    "bitparity doctor three-hours.yaml": GPU_STUDY,
    "bitparity plan three-hours.yaml": "it runs in the folder of the example: test_the_example_is_planned",
    "bitparity plan thinking.yaml --measure 60": GPU_STUDY,
    "bitparity run three-hours.yaml --limit 20 --out artifacts/trial": GPU_STUDY,
    "bitparity run three-hours.yaml": GPU_STUDY,
    "bitparity run thinking.yaml --detach": GPU_STUDY,
    "bitparity run non-thinking.yaml --ray auto": GPU_STUDY,
    "bitparity compare logs/bf16 logs/fp8 --metric match": LOGS,
    "bitparity compare outputs/20261129_120544:q3-bf16 outputs/20261129_130544:q3-fp8": LOGS,
    "bitparity compare nel/bf16 nel/fp8": LOGS,
    "bitparity compare data/live_bench:q3-bf16 data/live_bench:q3-fp8": LOGS,
    "bitparity distance study.yaml": DISTANCE,
    "bitparity distance BASELINE CANDIDATE [...]": DISTANCE,
    "bitparity distance study.yaml --text FILE.jsonl": DISTANCE,
    "bitparity locate study.yaml --candidate nvfp4": "it needs real models: tests/cli/test_locate_command.py",
    "bitparity run study.yaml --detach": "it leaves a process behind: tests/test_detach.py",
    "bitparity run study.yaml --ray auto": CLUSTER,
    "bitparity run study.yaml --ray HEAD:6379": CLUSTER,
    "bitparity merge artifacts/qwen3-32b artifacts/part1 artifacts/part2 artifacts/part3 artifacts/part4": PARTS,
    "bitparity merge artifacts/STUDY artifacts/STUDY/shards/*": PARTS,
}
# Other programs, and what their commands need that a test has not.
OTHERS = {
    "make": "sets up an environment of its own; the target is looked up in the Makefile",
    "pip": "packages from an index; the extras are looked up in pyproject.toml",
    "python": "downloads or a GPU; the module or file is looked up",
    "python3": "a new environment",
    "mkdir": "a folder on a disk with room",
    "export": "a variable",
    ".": "activates an environment",
    "hf": "the internet",
    "curl": "the internet",
    "git": "the internet",
    "uv": "the internet",
    "sudo": "root, and packages",
    "nvidia-smi": "a GPU",
    "cd": "a folder of the clone",
    "eval": "sets variables of the shell",
    "jq": "a published log",
    "ray": "several hosts",
    "sbatch": "Slurm",
}
OPEN_ENDS = ("run", "check", "compare", "doctor")  # a verdict or an error found is an outcome: exit codes 1 and 3


class Block(NamedTuple):
    """A fenced block: its page, line, language, text."""

    page: Path
    line: int
    language: str
    text: str


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            yield Block(page, text[: found.start()].count("\n") + 1, found[1], found[2])


def commands() -> dict[str, str]:
    """Each distinct command, without its comment, and the first place where it stands."""
    found: dict[str, str] = {}
    for block in blocks():
        if block.language == "":
            for line in block.text.replace("\\\n", " ").splitlines():
                if command := re.sub(r"\s+#\s.*$", "", line).strip():
                    found.setdefault(" ".join(command.split()), f"{block.page.name}, line {block.line}")
    return found


def inline() -> set[str]:
    """What stands as a command inside a sentence."""
    text = "".join(re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S) for page in PAGES)
    return {" ".join(said.split()) for said in re.findall(r"`(bitparity [^`]+)`", text)}


COMMANDS = commands()
OURS = [command for command in COMMANDS if command.startswith("bitparity ")]
RUN_HERE = [command for command in OURS if command not in NOT_HERE]


# ---------------------------------------------------------------- what commands need to run


PLACES = (  # under which the commands look for a finished run
    *(f"artifacts/{name}" for name in ("qwen3-32b", "qwen3-32b-thinking", "qwen3-32b-non-thinking", "q3", "q3-fp8")),
    *("RUN", "DIR"),
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the commands find: a study, runs, logs of lm-eval, rows, a document with a table."""
    folder = tmp_path_factory.mktemp("prepared")
    study = yaml.safe_load(replay_study(folder, 30).read_text())
    write_yaml(folder / "study.yaml", study | {"study": "qwen3-32b"})
    done = run_study(load_study(folder / "study.yaml"), folder / "run", Events()).run
    results.write(done)
    for name in PLACES:
        shutil.copytree(done.path, folder / name)
    for file in ("qwen3-32b.evidence.tar.xz", "artifacts/qwen3-32b.evidence.tar.xz"):
        seal(done.path, folder / file)
    shutil.rmtree(done.path)
    export(Run(folder / "RUN"), "lm-eval", folder / "out")
    rows = [{"item": str(n), "score": n % 2} for n in range(20)]
    (folder / "rows").mkdir()
    write_jsonl(folder / "rows" / "bf16.jsonl", rows)
    (folder / "rows" / "fp8.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    table = "| 指标 | NVFP4 | FP8 | BF16 | 备注 |\n|---|---|---|---|---|\n| MATH-500 | | | | |\n"
    for name in ("results.md", "results.zh.md"):
        (folder / name).write_text(table)
    return folder


def world(prepared: Path, folder: Path, command: str) -> Path:
    """A fresh copy for one command, with what it alone needs changed."""
    place = folder / "world"
    shutil.copytree(prepared, place)
    if " init " in command:
        (place / "study.yaml").unlink()
    if command.startswith("bitparity run study.yaml"):
        shutil.rmtree(place / "artifacts" / "qwen3-32b")
    if "fp8.jsonl.gz" in command:  # plain rows, under names that recorded answers have elsewhere
        for path in (place / "rows").iterdir():
            shutil.copy(path, place / path.name)
    if "--filter" in command:  # lm-eval's own logs have filters; ours have one
        for path in (place / "out").rglob("*.jsonl"):
            path.write_text(path.read_text().replace('"filter": "bitparity"', '"filter": "flexible-extract"'))
    if "--control" in command:  # a recorded baseline cannot run twice: its second run is a recording too
        write_jsonl(place / "again.jsonl", answers(30, [2]))
        study = yaml.safe_load((place / "study.yaml").read_text())
        study["variants"]["bf16-control"] = {"model": "again.jsonl", "control": True}
        write_yaml(place / "study.yaml", study)
    return place


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables of a shell in which `bitparity` is this checkout's, with a home of its own and no hub."""
    folder = tmp_path_factory.mktemp("bin")
    shim = folder / "bitparity"
    program = "import sys; sys.argv[0] = 'bitparity'; from bitparity.cli.app import main; main()"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{program}" "$@"\n')
    shim.chmod(0o755)
    source = {"PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    own = {"HOME": str(folder), "GITHUB_STEP_SUMMARY": str(folder / "summary.md"), "SHELL": "/bin/bash"}
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **source, **own, "PATH": path, "COLUMNS": "120"}


def shell(command: str, place: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"{command}\nexit $?"],
        cwd=place,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("command", RUN_HERE)
def test_a_command_runs_word_for_word(
    command: str, prepared: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    ended = shell(command, world(prepared, tmp_path, command), environment)
    allowed = (0, 1, 3) if command.split()[1] in OPEN_ENDS else (0,)
    assert ended.returncode in allowed, f"{COMMANDS[command]}: {ended.stderr[-2000:]}"
    assert "Traceback" not in ended.stderr
    if command.startswith("bitparity run"):
        assert ("merge OUT" if "--shard" in command else "report: ") in ended.stdout


def test_the_example_is_planned(environment: dict[str, str]) -> None:
    command = "bitparity plan three-hours.yaml"
    ended = shell(command, ROOT / "examples" / "qwen3-32b-rtx-pro-6000", environment)
    assert ended.returncode == 0, ended.stderr
    assert "math500" in ended.stdout


# ---------------------------------------------------------------- what cannot run here


def parses(command: str) -> str | None:
    """What the command line has against a command, None where it would take it; placeholders may stand in brackets."""
    words = shlex.split(re.sub(r"\s(>>?|\|)\s.*$", "", command))[1:]
    words = [word for word in words if not re.fullmatch(r"\[.*\]|\.\.\.|…", word)]
    group: Any = typer.main.get_command(cli.app)
    name, *rest = words
    if name.startswith("--"):
        known = {"--help", *(option for parameter in group.params for option in parameter.opts)}
        return None if name in known else f"no option {name}"
    sub = group.commands.get(name)
    if sub is None:
        return f"no command {name}"
    options = {option: parameter for parameter in sub.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in rest:
        if word.startswith("-") and word.split("=")[0] not in {"--help", *options}:
            return f"{name} has no option {word}"
    return None


@pytest.mark.parametrize("command", [*NOT_HERE, *sorted(inline())])
def test_a_command_that_is_not_run_is_one_that_the_command_line_knows(command: str) -> None:
    assert parses(command) is None


def test_the_lists_of_exceptions_have_no_dead_entries() -> None:
    assert set(NOT_HERE) <= set(COMMANDS)
    assert {command.split()[0] for command in COMMANDS} - {"bitparity"} <= set(OTHERS)
    assert set(OTHERS) <= {command.split()[0] for command in COMMANDS}


def test_what_other_programs_are_told_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for command in COMMANDS:
        words = shlex.split(command)
        if words[0] == "make":
            assert words[1] in targets
        for extras in re.findall(r"(?:bitparity|\.)\[([\w,-]+)\]", command):
            assert set(extras.split(",")) <= set(project["optional-dependencies"])
        if words[:2] == ["python", "-m"]:
            assert (ROOT / "src" / Path(*words[2].split("."))).with_suffix(".py").exists()
        elif words[0] == "python":
            assert (ROOT / words[1]).exists()
            script = (ROOT / words[1]).read_text()
            assert all(f'"{word}"' in script for word in words if word.startswith("--"))


def test_completion_of_the_shell_can_be_installed_and_works(tmp_path: Path, environment: dict[str, str]) -> None:
    home = {**environment, "HOME": str(tmp_path)}
    assert any("--install-completion" in said for said in inline())
    ended = shell("bitparity --install-completion", tmp_path, home)
    assert ended.returncode == 0, ended.stderr
    assert list((tmp_path / ".bash_completions").iterdir())
    asked = {**home, "_BITPARITY_COMPLETE": "complete_bash", "COMP_WORDS": "bitparity re", "COMP_CWORD": "1"}
    assert shell("bitparity", tmp_path, asked).stdout.split() == ["report"]


# ---------------------------------------------------------------- snippets, examples, links


@pytest.mark.parametrize(
    "block", [b for b in blocks() if b.language == "yaml"], ids=lambda b: f"{b.page.stem}-{b.line}"
)
def test_a_study_in_a_page_is_one(block: Block, tmp_path: Path) -> None:
    """A whole study as it stands, part of one put into the smallest study."""
    document = yaml.safe_load(block.text)
    if "name: capitals" in block.text:
        pytest.skip("its benchmark is the page's own: test_the_benchmark_of_the_page_is_installed_and_runs")
    if "kind: greedy" in block.text:
        pytest.skip("its engine is the page's own: test_the_engine_of_the_page_is_installed_and_runs")
    for target in re.findall(r"targets: (\S+)", block.text):
        (tmp_path / target).touch()
    smallest = {"study": "s", "variants": {"a": {"model": "org/model"}}, "benchmarks": ["smoke"]}
    study = parse_study(yaml.safe_dump(smallest | document, sort_keys=False), block.page.name, tmp_path)
    for name, variant in document.get("variants", {}).items():
        assert study.variants[name].baseline == variant.get("baseline", False)


def of_page(name: str, language: str) -> list[str]:
    return [block.text for block in blocks() if block.page.name == name and block.language == language]


def test_the_benchmark_of_the_page_is_installed_and_runs(tmp_path: Path, environment: dict[str, str]) -> None:
    page = "adding-a-benchmark.md"
    (pyproject,), code = of_page(page, "toml"), of_page(page, "python")[0]
    assert code.count("\n") < 60
    install(tmp_path / "site", pyproject, {"bitparity_capitals.py": code})
    own = environment | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{tmp_path / 'site'}"}
    for name, text in zip(("countries.jsonl", "answers.jsonl"), of_page(page, "json"), strict=True):
        (tmp_path / name).write_text(text)
    (tmp_path / "capitals.yaml").write_text(of_page(page, "yaml")[0])
    ended = shell("bitparity run capitals.yaml", tmp_path, own)
    assert ended.returncode == 0, ended.stderr
    found = json.loads((tmp_path / "artifacts" / "capitals" / "results.json").read_text())["benchmarks"]["capitals"]
    score = found["scores"]["bf16"]
    assert (score["mean"], score["no_answer"], set(found["subgroups"])) == (
        0.5,
        0.25,
        {"Europe", "Asia", "Africa", "America"},
    )
    assert "50.0 %" in ended.stdout
    assert shell("bitparity benchmarks", tmp_path, own).stdout.count("capitals") >= 2


def test_the_benchmark_of_the_page_runs_inside_the_package(tmp_path: Path, environment: dict[str, str]) -> None:
    code, last_line = of_page("adding-a-benchmark.md", "python")
    source = tmp_path / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (source / "bitparity" / "benchmarks" / "capitals.py").write_text(f"{code}\n\n{last_line}")
    listed = shell("bitparity benchmarks", tmp_path, environment | {"PYTHONPATH": str(source)}).stdout
    assert listed.count("capitals") >= 2


@pytest.mark.slow
def test_the_engine_of_the_page_is_installed_and_runs(tmp_path: Path, environment: dict[str, str]) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    import tiny_model

    page = "adding-an-engine.md"
    (pyproject,), code = of_page(page, "toml"), of_page(page, "python")[0]
    assert code.count("\n") < 60
    install(tmp_path / "site", pyproject, {"bitparity_greedy.py": code})
    own = environment | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{tmp_path / 'site'}"}
    tiny_model.build_model(tmp_path / "model")
    write_jsonl(tmp_path / "math.jsonl", math_rows(5))
    study = {
        "study": "tiny",
        "variants": {"bf16": {"model": "model", "baseline": True}},
        "engine": {"kind": "greedy", "max_model_len": 256},
        "benchmarks": [{"name": "math500", "data": "math.jsonl", "max_tokens": 12}],
    }
    samples = {}
    for kind in ("greedy", "transformers"):
        path = write_yaml(tmp_path / f"{kind}.yaml", study | {"engine": {"kind": kind, "max_model_len": 256}})
        ended = shell(f"bitparity run {path.name} --out {kind}", tmp_path, own)
        assert ended.returncode in (0, 3), ended.stderr
        lines = (tmp_path / kind / "samples" / "bf16" / "math500.jsonl").read_text().splitlines()
        rows = [json.loads(row) for row in lines]
        samples[kind] = {row["item"]: (row["text"], row["finish"], row["tokens"]) for row in rows}
    assert len(samples["greedy"]) == 5
    assert samples["greedy"] == samples["transformers"]
    facts = json.loads((tmp_path / "greedy" / "results.json").read_text())["variants"]["bf16"]["engine"]
    assert facts["engine"] == "greedy"
    resolved = yaml.safe_load((tmp_path / "greedy" / "study.yaml").read_text())["study"]["variants"]["bf16"]["engine"]
    assert resolved["threads"] == 1


def test_the_engine_of_the_page_is_found_inside_the_package(tmp_path: Path, environment: dict[str, str]) -> None:
    code, last_line = of_page("adding-an-engine.md", "python")
    source = tmp_path / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (source / "bitparity" / "engines" / "greedy_engine.py").write_text(f"{code}\n\n{last_line}")
    study = {"study": "s", "variants": {"a": {"model": "org/model"}}, "engine": {"kind": "greedy", "thread": 2}}
    write_yaml(tmp_path / "study.yaml", study | {"benchmarks": ["smoke"]})
    ended = shell("bitparity run study.yaml", tmp_path, environment | {"PYTHONPATH": str(source)})
    assert "variants.a.engine: unknown key 'thread'; did you mean 'threads'?" in ended.stderr


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        place, _, anchor = target.partition("#")
        if target.startswith(("http:", "https:")):
            continue
        path = (page.parent / place).resolve() if place else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if f"({page.name})" not in index]
    assert missing == ["README.md"]


def test_the_site_has_every_page_and_links_out_of_it_lead_to_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    named = re.findall(r"[\w-]+\.md", json.dumps(nav))
    assert sorted(named) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    hook = runpy.run_path(str(ROOT / "tools" / "docs_links.py"))["on_page_markdown"]
    text = "See [the README](../README.md#x) and [guards](guards.md)."
    monkeypatch.delenv("BITPARITY_REPOSITORY", raising=False)
    assert hook(text) == "See the README (`README.md#x`) and [guards](guards.md)."
    monkeypatch.setenv("BITPARITY_REPOSITORY", "https://example.org/blob/main/")
    assert hook(text) == "See [the README](https://example.org/blob/main/README.md#x) and [guards](guards.md)."


def test_the_site_is_built_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra 'docs' is not installed")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "guards.html").is_file()


# ---------------------------------------------------------------- files and fields


MAPS = {  # keys whose value has names as keys
    *("variants", "benchmarks", "scores", "comparisons", "subgroups", "means", "overall", "metrics", "errors", "limit"),
    *("execution", "verdicts", "rates", "platforms", "decisions", "if_right"),
}
OPAQUE = {"engine", "identity", "generation", "data", "earlier_engines", "value", "needs"}  # of any inner form


def fields(value: Any, path: tuple[str, ...] = ()) -> set[str]:
    """The dotted names of all that holds no further names; `*` for a name, `[]` for an entry of a list."""
    last = path[-1] if path else ""
    if isinstance(value, dict) and value and last not in OPAQUE:
        maps = last in MAPS or (len(path) > 1 and path[-2] in ("verdicts", "rates") and last == "*")
        return set().union(*(fields(inner, (*path, "*" if maps else key)) for key, inner in value.items()))
    if isinstance(value, list) and any(isinstance(inner, dict) for inner in value) and last not in OPAQUE:
        return set().union(*(fields(inner, (*path, "[]")) for inner in value))
    return set() if value == {} and last in MAPS else {".".join(path)}


def documented(text: str) -> set[str]:
    rows = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_the_fields_of_results_json_are_those_of_the_page(prepared: Path) -> None:
    known = documented((ROOT / "docs" / "files.md").read_text().split("\n## `results.json`")[1])
    code = {name for name in known if re.match(r"benchmarks\.\*\.(execution|verdicts|rates|platforms)\.", name)}
    found = json.loads((prepared / "artifacts" / "q3" / "results.json").read_text())
    made = fields(found)
    assert made - known == set()
    # these come only where something is missing, limited, invalid, failed, or there are two benchmarks or rounds
    rare = {
        "study.limit.*",
        "benchmarks.*.guards.[].if_right.*",
        "benchmarks.*.scores.*.errors.*",
        "benchmarks.*.comparisons.*.invalid_by",
    }
    rare |= {"benchmarks.*.comparisons.*.doubted_by", "benchmarks.*.comparisons.*.bound_ci95", "overall.*.hidden"}
    rare |= {"benchmarks.*.comparisons.*.reference", "benchmarks.*.margin_recovery"}
    rare |= {"benchmarks.*.left_out", "benchmarks.*.spot_check"}  # the time was over; batch invariance
    rare |= {"benchmarks.*.comparisons.*.repeated_ci95", "benchmarks.*.comparisons.*.stopped"}  # stops early
    rare |= {name for name in known if name.startswith("distance.")}  # recordings are not read
    assert known - made - code - rare == set()
    from bitparity.results import execution, schema

    assert {re.split(r"\.", name)[2] for name in code} == {"execution", "verdicts", "rates", "platforms"}
    source = Path(execution.__file__).read_text()
    assert all(f'"{name}"' in source for name in ("execution", "verdicts", "rates", "platforms"))
    assert "invalid_by" in Path(schema.__file__).read_text()


def test_the_files_of_a_run_are_those_of_the_page(prepared: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    page = (ROOT / "docs" / "files.md").read_text().split("## Records")[0]
    known = {
        name for row in re.findall(r"^\| (`[^|]*) \|", page, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    }
    patterns = [re.sub(r"<[^>]+>|\*", "[^/]+", re.escape(name).replace(r"\*", "*")) for name in known]
    place = world(prepared, tmp_path, "")
    for command in ("report artifacts/q3", "export artifacts/q3 --format lm-eval"):
        assert shell(f"bitparity {command}", place, environment).returncode == 0
    run = place / "artifacts" / "q3"
    files = [str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()]
    assert [name for name in files if not any(re.match(pattern, name) for pattern in patterns)] == []


def test_the_columns_of_records_are_those_of_the_page(prepared: Path) -> None:
    page = (ROOT / "docs" / "files.md").read_text()
    run = prepared / "artifacts" / "q3"
    for folder, skipped in (("samples", 0), ("grades", 1)):
        table = page.split(f"\n`{folder}/*/*.jsonl`")[1].split("\n\n")[1]
        known = {
            n for row in re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE) for n in re.findall(r"`([^`]+)`", row)
        }
        line = (run / folder / "fp8" / "math500.jsonl").read_text().splitlines()[skipped]
        assert set(json.loads(line)) == known


def test_the_architecture_page_names_every_room_and_no_file_that_is_not_there() -> None:
    package = ROOT / "src" / "bitparity"
    page = (ROOT / "docs" / "architecture.md").read_text()
    tree = page.partition("bitparity/\n")[2].partition("```")[0]
    named = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.startswith("  ")}
    rooms = {p.name for p in package.iterdir() if (p / "__init__.py").exists() or p.suffix == ".py"}
    assert named == rooms - {"__init__.py"}
    paths = set(re.findall(r"`((?:[a-z_]+/)+(?:\w+\.py)?)`", page))
    inside = {path for path in paths if path.split("/")[0] in rooms}
    assert len(inside) > 30
    assert [path for path in sorted(inside) if not (package / path).exists()] == []
