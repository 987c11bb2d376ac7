"""Finding benchmarks: bitparity's own in their folder, those of other packages by entry points."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import Cli, install, write_jsonl, write_yaml

from bitparity.benchmarks import registry
from bitparity.benchmarks.lm_eval_task import LmEvalTask
from bitparity.benchmarks.smoke import Smoke
from bitparity.errors import StudyError
from bitparity.study.resolve import parse_study

Package = Callable[..., None]

ECHO = """
from bitparity.benchmarks.contract import Info, Source
from bitparity.benchmarks.dataset import RowsBenchmark
from bitparity.records import Grade, Item, Prompt

class Echo(RowsBenchmark):
    source = Source("example/echo", "test", "1" * 40, rows=3)
    fields = {"id": (str,), "word": (str,)}
    info = Info("Echo", 3, ("chat",), "exact_match", source)
    slow_grader = True

    def items(self):
        for row in self.rows(lambda row: row["id"]):
            yield Item(row["id"], (Prompt(messages=({"role": "user", "content": row["word"]},)),), row["word"])

    def grade(self, item, completion):
        score = float(completion.text == item.reference)
        return Grade(score, "answered", completion.text, {"exact_match": score})
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """Installs a package that offers a benchmark; the entry points are looked for again before and after."""

    made: list[str] = []

    def make(name: str, benchmark: str, code: str = ECHO, attribute: str = "Echo") -> None:
        module = name.replace("-", "_")
        project = f'[project]\nname = "{name}"\nversion = "1"\n[project.entry-points."bitparity.benchmarks"]\n'
        install(tmp_path / name, f'{project}"{benchmark}" = "{module}:{attribute}"\n', {f"{module}.py": code})
        made.append(module)
        monkeypatch.syspath_prepend(tmp_path / name)
        registry.entry_points_by_name.cache_clear()

    yield make
    for module in made:
        sys.modules.pop(module, None)
    registry.entry_points_by_name.cache_clear()


def test_a_file_that_assigns_benchmark_is_one_and_a_helper_is_none() -> None:
    names = registry.benchmark_names()
    assert {"smoke", "mmlu_pro", "scicode"} <= set(names)
    assert not {"answers", "code", "contract", "dataset", "lm_eval_task", "registry", "rows"} & set(names)
    assert registry.benchmark_class("smoke") is Smoke
    assert registry.benchmark_class("lm_eval:gsm8k") is LmEvalTask


def test_every_benchmark_of_bitparity_tells_what_others_need_of_it() -> None:
    infos = registry.infos()
    assert set(infos) == set(registry.built_in())
    assert all(info.title and info.items > 0 and info.forms and info.metric for info in infos.values())


def test_a_benchmark_of_another_package_works_in_every_command(package: Package, tmp_path: Path, cli: Cli) -> None:
    package("echo-package", "echo")
    write_jsonl(tmp_path / "words.jsonl", [{"id": str(n), "word": word} for n, word in enumerate(["a", "b", "c"])])
    write_jsonl(tmp_path / "said.jsonl", [{"item": str(n), "text": text} for n, text in enumerate(["a", "b", "x"])])
    study = {
        "study": "echo",
        "engine": {"kind": "replay"},
        "variants": {"bf16": {"model": "said.jsonl", "baseline": True}},
        "benchmarks": [{"name": "echo", "data": "words.jsonl"}],
    }
    path, out = write_yaml(tmp_path / "study.yaml", study), tmp_path / "out"
    assert cli("plan", path).code == 0
    assert "echo" in cli("benchmarks").out
    assert cli("doctor", path).code in (0, 3)
    ended = cli("run", path, "--out", out)
    assert ended.code == 0, ended.err
    for command in (["grade", out], ["report", out]):
        assert cli(*command).code == 0
        found = json.loads((out / "results.json").read_text())["benchmarks"]["echo"]
        assert found["scores"]["bf16"]["mean"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", ["smoke", "lm_eval:gsm8k"])
def test_a_name_of_ours_is_refused(package: Package, name: str) -> None:
    package("echo-package", name)
    with pytest.raises(StudyError, match="package 'echo-package' has an entry point of that name"):
        registry.check_name(name)
    assert registry.benchmark_names() == list(registry.built_in())


def test_a_name_of_two_packages_is_refused(package: Package) -> None:
    package("echo-one", "echo")
    package("echo-two", "echo")
    with pytest.raises(StudyError, match="'echo-(one|two)' and 'echo-(one|two)' both offer benchmark 'echo'"):
        registry.benchmark_class("echo")


@pytest.mark.parametrize(
    ("code", "attribute", "reason"),
    [
        ("import nothing_of_this_name", "Echo", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("1 / 0", "Echo", "ZeroDivisionError"),
        (ECHO, "Missing", "AttributeError"),
        ("class Echo: pass", "Echo", "no subclass of bitparity.benchmarks.contract.Benchmark"),
    ],
)
def test_a_broken_package_is_named_only_where_its_benchmark_is_asked_for(
    package: Package, cli: Cli, tmp_path: Path, code: str, attribute: str, reason: str
) -> None:
    package("broken-package", "broken", code, attribute)
    with pytest.raises(StudyError, match="update or reinstall the package") as refused:
        parse_study("{study: s, variants: {a: {model: m/m}}, benchmarks: [broken]}", "test", tmp_path)
    assert "'broken-package'" in str(refused.value)
    assert reason in str(refused.value)
    assert parse_study("{study: s, variants: {a: {model: m/m}}, benchmarks: [smoke]}", "test", tmp_path)
    assert set(registry.infos()) == set(registry.built_in())
    listed = cli("benchmarks")
    assert listed.code == 0
    assert "broken-package" in listed.out


def test_a_benchmark_without_info_is_refused(package: Package) -> None:
    package("bare-package", "bare", ECHO.replace("    info =", "    other ="))
    with pytest.raises(StudyError, match="'bare' has no `info`; give the class Echo one"):
        registry.benchmark_class("bare")
