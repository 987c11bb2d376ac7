"""Engines found by kind: bitparity's own, and those of packages that are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import Cli, install, math_rows, stored, write_jsonl, write_yaml

from bitparity.engines import registry
from bitparity.engines.registry import built_in, engine_class, idle_cores
from bitparity.errors import StudyError
from bitparity.schema import Variant
from bitparity.study.resolve import parse_study

ENGINE = """
from bitparity.engines.contract import Engine
from bitparity.records import Sample
from bitparity.schema import Strict


class Settings(Strict):
    word: str
    times: int = 2


class Parrot(Engine):
    has_local_weights = False
    recorded = True
    takes = ("device",)
    settings = Settings

    def __init__(self, variant):
        own = Settings.model_validate(variant.engine.own)
        self._text = " ".join([own.word] * own.times)

    def facts(self):
        return {"engine": "parrot", "version": "1", "model": {"path": "none"}}

    async def stream(self, requests):
        async for r in requests:
            yield Sample(r.benchmark, r.item, r.sample, self._text, "stop", 1, 1, 0.1)
"""
PROJECT = """
[project]
name = "{name}"
version = "1.0"

[project.entry-points."bitparity.engines"]
{kind} = "{module}:Parrot"
"""

Install = Callable[..., None]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a package that offers an engine, for this process and those that it starts."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)

    def make(kind: str, code: str = ENGINE, name: str = "bird") -> None:
        install(site, PROJECT.format(name=name, kind=kind, module=f"{name}_{kind}"), {f"{name}_{kind}.py": code})
        engine_class.cache_clear()

    return make


def study(folder: Path, engine: dict[str, object]) -> Path:
    write_jsonl(folder / "math.jsonl", math_rows(4))
    variants = {"a": {"model": "a/b", "baseline": True}}
    benchmarks = [{"name": "math500", "data": "math.jsonl"}]
    content = {"study": "s", "variants": variants, "engine": engine, "benchmarks": benchmarks}
    return write_yaml(folder / "study.yaml", content)


def test_an_engine_of_another_package_runs_a_study(cli: Cli, tmp_path: Path, installed: Install) -> None:
    installed("parrot")
    path = study(tmp_path, {"kind": "parrot", "word": "polly", "device": "cpu"})
    ended = cli("run", path, "--out", tmp_path / "run")
    assert ended.code in (0, 3), ended.err
    assert {sample["text"] for sample in stored(tmp_path / "run").values()} == {"polly polly"}
    engine = yaml.safe_load((tmp_path / "run" / "study.yaml").read_text())["study"]["variants"]["a"]["engine"]
    assert (engine["word"], engine["times"]) == ("polly", 2)
    assert cli("run", path, "--out", tmp_path / "run").code in (0, 3)  # the stored study is the same
    study(tmp_path, {"kind": "parrot", "word": "jacko", "device": "cpu"})
    assert "another study" in cli("run", path, "--out", tmp_path / "run").err


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ({"kind": "parrott", "word": "a"}, "engine.kind 'parrott' does not exist; did you mean 'parrot'?"),
        ({"kind": "parrot", "wrod": "a"}, "variants.a.engine: unknown key 'wrod'; did you mean 'word'?"),
        ({"kind": "parrot"}, "variants.a.engine: word: Field required"),
        ({"kind": "parrot", "word": "a", "times": "many"}, "variants.a.engine: times: Input should be a valid integer"),
        ({"kind": "transformers", "word": "a"}, "variants.a.engine: unknown key 'word'; known keys: kind, "),
        ({"kind": "vllm", "concurrency": 2}, "engine vllm takes no concurrency, which engine openai has"),
    ],
)
def test_wrong_keys_are_refused_with_the_study(
    engine: dict[str, object], said: str, cli: Cli, tmp_path: Path, installed: Install
) -> None:
    installed("parrot")
    ended = cli("run", study(tmp_path, engine), "--out", tmp_path / "run")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert said in ended.err


def test_keys_that_an_engine_of_a_package_does_not_take(installed: Install, cli: Cli, tmp_path: Path) -> None:
    installed("parrot", ENGINE.replace("    recorded = True\n", ""))
    ended = cli("run", study(tmp_path, {"kind": "parrot", "word": "a", "quantization": "fp8"}))
    assert ended.code == 2
    assert "engine parrot takes no quantization, which engine" in ended.err


def test_packages_that_cannot_be_used(installed: Install) -> None:
    installed("broken", "import absent_library")
    with pytest.raises(StudyError, match=r"engine 'broken' of package 'bird' cannot be loaded \(ModuleNotFoundError"):
        engine_class("broken")
    installed("no_engine", "Parrot = dict", "wing")
    with pytest.raises(StudyError, match="no_engine:Parrot is no subclass of"):
        engine_class("no_engine")
    installed("twice", name="tail")
    installed("twice", name="beak")
    with pytest.raises(StudyError, match="both offer engine 'twice'"):
        engine_class("twice")


def test_bitparity_s_own_engine_comes_before_a_package_s(installed: Install) -> None:
    installed("replay")
    assert engine_class("replay").__module__ == "bitparity.engines.replay_engine"


def test_no_library_of_an_engine_is_imported_to_know_its_class() -> None:
    code = (
        "import sys\nfrom bitparity.engines.registry import built_in, engine_class\n"
        "assert all(engine_class(kind) for kind in built_in())\n"
        "print(*sorted({'torch', 'transformers', 'vllm', 'httpx'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "\n"
    assert list(built_in()) == ["openai", "replay", "transformers", "vllm"]


@pytest.mark.parametrize(
    ("kind", "facts", "cores"),
    [
        ("replay", {}, 16),
        ("transformers", {"device": "cpu", "threads": 16}, 0),
        ("transformers", {"device": "cpu", "threads": 4}, 12),
        ("vllm", {"device": "cpu"}, 0),
        ("vllm", {"device": "cuda:0"}, 12),
    ],
)
def test_an_engines_cores_are_its_own(
    monkeypatch: pytest.MonkeyPatch, kind: str, facts: dict[str, Any], cores: int
) -> None:
    monkeypatch.setattr(registry, "usable_cores", lambda: 16)
    text = f"{{study: s, engine: {{kind: {kind}}}, variants: {{a: {{model: some/model}}}}, benchmarks: [smoke]}}"
    if kind == "replay":
        text = text.replace("some/model", str(Path(__file__)))
    variant: Variant = parse_study(text, "test", Path.cwd()).variants["a"]
    assert idle_cores(variant, facts) == cores
