from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import vllm_names

import bitparity
from bitparity.engines import vllm_engine
from bitparity.records import Sampling

SOURCE = Path(bitparity.__file__).parent


def test_only_names_that_were_looked_up_are_imported() -> None:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "vllm":
                found[str(node.module)] |= {name.name for name in node.names}
    assert {module: sorted(names) for module, names in found.items()} == vllm_names.IMPORTED


def keywords(call: str) -> set[str]:
    """The names of the keywords and literal keys that are given to a function in the engine's file."""
    tree = ast.parse(Path(vllm_engine.__file__).read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == call]
    assert calls
    return {keyword.arg for node in calls for keyword in node.keywords if keyword.arg is not None}


def test_only_settings_that_were_looked_up_are_passed() -> None:
    assert keywords("AsyncEngineArgs") | set(vllm_engine._PASSED) == vllm_names.ENGINE_ARGUMENTS
    given = keywords("_params") | keywords("SamplingParams") | keywords("_scoring_params") | set(vllm_engine._SENT)
    known = given | set(Sampling.__dataclass_fields__) | {"detokenize", "skip_special_tokens"}
    assert known == vllm_names.SAMPLING_VALUES
