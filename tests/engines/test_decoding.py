from __future__ import annotations

from pathlib import Path

import pytest
import tiny_model
from hypothesis import given
from hypothesis import strategies as st

from bitparity.engines.decoding import Decoder, cut_at_stop, end_token_ids

pytest.importorskip("transformers")


@pytest.mark.parametrize(
    ("text", "stop", "end", "expected"),
    [
        ("a b c", ["c", "b"], None, ("a ", True)),
        ("a b c", ["x"], None, ("a b c", False)),
        ("a b c", [""], None, ("a b c", False)),
        ("a </think> b a c", ["a"], "</think>", ("a </think> b ", True)),
        ("a a a", ["a"], "</think>", ("a a a", False)),
        ("</think></think>", ["</think>"], "</think>", ("</think>", True)),
    ],
)
def test_cut_at_stop(text: str, stop: list[str], end: str | None, expected: tuple[str, bool]) -> None:
    assert cut_at_stop(text, stop, end) == expected


@given(st.text("ab|", max_size=30), st.lists(st.text("ab", min_size=1, max_size=3), max_size=3))
def test_nothing_is_cut_in_the_reasoning(text: str, stop: list[str]) -> None:
    kept, stopped = cut_at_stop(text, stop, "|")
    head, mark, tail = text.partition("|")
    assert kept.startswith(head + mark)
    assert stopped == any(s in tail for s in stop)
    assert not any(s in kept[len(head + mark) :] for s in stop)


def test_special_tokens_vanish_but_the_reasonings_end(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(tiny_model.build_tokenizer(tmp_path)))
    ids = tokenizer.encode("a<think-end>b<|end|>")
    assert Decoder(tokenizer).text(ids) == "ab" == tokenizer.decode(ids, skip_special_tokens=True)
    assert Decoder(tokenizer).text(ids, "<think-end>") == "a<think-end>b"


def test_end_tokens(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    chat = AutoTokenizer.from_pretrained(str(tiny_model.build_tokenizer(tmp_path / "chat")))
    base = AutoTokenizer.from_pretrained(str(tiny_model.build_tokenizer(tmp_path / "base", template=None)))
    assert end_token_ids(chat, [None, 2, [2, 7]]) == [2, 3, 7]
    assert end_token_ids(base, []) == [2]
