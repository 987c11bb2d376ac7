from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

import bitparity.doctor
from bitparity.doctor.findings import CHINESE, TEXTS, Topic

FOLDER = Path(bitparity.doctor.__file__).parent


def calls() -> Iterator[tuple[str, str, set[str], bool]]:
    """Of each finding that is made: how, its key, the figures given by name, and whether there may be more of them."""
    for path in sorted(FOLDER.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            made = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if made in ("ok", "warning", "error", "find"):
                names = {keyword.arg for keyword in node.keywords if keyword.arg}
                yield made, str(node.args[0].value), names, len(names) < len(node.keywords)


def figures(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize(("made", "key", "given", "more"), list(calls()))
def test_a_finding_has_its_words_and_their_figures(made: str, key: str, given: set[str], more: bool) -> None:
    said = TEXTS[key]
    needed = figures(said["message"]) | (set() if made == "ok" else figures(said["remedy"]))
    assert needed <= given if not more else given <= needed


def test_every_text_is_said() -> None:
    assert set(TEXTS) == {key for _, key, _, _ in calls()}


@pytest.mark.parametrize("key", TEXTS)
def test_every_finding_is_there_in_chinese_with_the_same_figures(key: str) -> None:
    english, chinese = TEXTS[key], CHINESE()[key]
    assert english.keys() == chinese.keys()
    for part, said in english.items():
        fields = [
            sorted(found[1:3] for found in string.Formatter().parse(text) if found[1]) for text in (said, chinese[part])
        ]
        words = {("known", "")}  # English words that Chinese says otherwise
        assert [each for each in fields[0] if tuple(each) not in words] == fields[1]
    assert set(CHINESE()) == set(TEXTS)


def test_a_finding_keeps_level_and_figures_in_chinese() -> None:
    found = Topic("budget").error("length_refused", asked=40960, limit=32768).in_chinese()
    assert (found.level, found.topic) == ("error", "budget")
    assert found.message == "max_model_len 40,960 超过模型允许的 32,768 个 token：vLLM 拒绝启动"
    assert "32768" in found.remedy
    assert Topic("budget").ok("budget", budget=4096).in_chinese().message == "每条回答 4,096 个 token"
