"""Finding the code in an answer, decoding tests, comparing outputs: everything of code grading without a sandbox."""

from __future__ import annotations

import base64
import json
import pickle
import time
import zlib
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitparity.benchmarks.fenced_code import code_blocks, language_of, last_code, upstream_code
from bitparity.benchmarks.inside import codec
from bitparity.benchmarks.livecodebench import MAX_TESTS_BYTES, decode_tests, same_output, same_value
from bitparity.errors import DataError

FENCE = "```"


def block(code: str, language: str = "python") -> str:
    return f"{FENCE}{language}\n{code}\n{FENCE}"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (block("print(1)"), "print(1)"),
        (f"First {block('print(1)')} then\n\n{block('print(2)')}\nDone.", "print(2)"),
        (f"{block('print(2)')}\n\nOutput:\n{block('5', 'text')}", "print(2)"),
        (f"{block('print(2)')}\n\nOutput:\n{block('5', '')}", "print(2)"),
        (f"{block('print(2)', 'Python')}", "print(2)"),
        (f"{block('print(2)', '')}\n\nSample output:\n{block('5', '')}", "print(2)"),
        (f"{block('print(1)')}\n{FENCE}python\nprint(2)", "print(1)"),  # the second is not complete
        ("~~~python\nprint('```')\n~~~", "print('```')"),
        (f"1. so:\n   {FENCE}python\n   if x:\n       y()\n   {FENCE}", "if x:\n    y()"),
        (f"{FENCE}{FENCE[0]}python\n{block('inner')}\n{FENCE}{FENCE[0]}", block("inner")),
        (f"{FENCE}python\r\nprint(1)\r\n{FENCE}\r\n", "print(1)\r"),
        (f"{FENCE}python\nprint(1)", None),
        ("print(1)", None),
        ("", None),
    ],
)
def test_the_last_complete_block_is_taken(text: str, code: str | None) -> None:
    assert last_code(text) == code


PYTHON_MARKS = [
    *("python", "Python", " python", "PYTHON\t", "py", "python3", "Python 3", "python3.11", "py3.11", "python-3.10"),
    *('python title="a.py"', "python title=a.py linenums", "python,linenos", "python:src/a.py", "python{1,3-4}"),
    *("{.python}", "{.python .numberLines}", "{ .py3 }", "{python}", "{python echo=TRUE}", "{#lst .python}"),
    *("{code-block} python", "{code-cell} ipython3", "ipython", "ipython3", "cpython", "pypy3", "language-python"),
    *(
        "lang=python",
        "solution.py",
        "src/solution.py",
        'title="my/main.py"',
        "#!/usr/bin/env python3",
        "python (final)",
    ),
]
OTHER_MARKS = [*("cpp", "c++", "text", "bash", "json", "pycon", "python-repl", "output", "{.bash}", "main.cpp", "rpy")]


@pytest.mark.parametrize("fence", ["```", "````", "~~~", "~~~~~"])
@pytest.mark.parametrize("mark", PYTHON_MARKS)
def test_every_way_to_mark_python_is_code(mark: str, fence: str) -> None:
    draft = block("print('draft')", "")
    answer = f"{fence}{mark}\nprint(1)\n{fence}"
    assert language_of(mark) == "python"
    assert last_code(answer) == "print(1)"
    assert last_code(f"{draft}\nBetter:\n  {fence}{mark}\n  print(1)\n  {fence}\nDone.") == "print(1)"


@pytest.mark.parametrize("mark", OTHER_MARKS)
def test_a_block_in_another_language_never_beats_code(mark: str) -> None:
    assert language_of(mark) not in ("", "python")
    other = block("print('other')", mark)
    assert last_code(f"{block('print(1)')}\n{other}") == "print(1)"
    assert last_code(f"{block('print(1)', '')}\n{other}") == "print(1)"
    assert last_code(block("int main() { return 0; }", mark)) is None


@pytest.mark.parametrize("mark", ["", 'title="Final"', "id=main"])
def test_a_fence_without_a_language_is_not_marked(mark: str) -> None:
    assert language_of(mark) == ""


SOLVE = "def solve(n):\n    return n + 1\n\nprint(solve(int(input())))"


@pytest.mark.parametrize(
    ("later", "wins"),
    [
        ("print('final')", True),
        ("import sys\nsys.stdout.write('final')", True),
        ("for i in range(3):\n    print(i)", True),
        (SOLVE.replace("+ 1", "+ 2"), True),
        ("5", False),
        ("x = 5", False),
        ("Answer: 3", False),
        ("Box(2)", False),
        ("[1, 2, 3]", False),
        ("{'a': 1}", False),
        ("set([1, 2])", False),
        ("hello world", False),
        ("python main.py", False),
        ("solve(3)", False),
        ("print(solve(3))  # 4", False),
        ("assert solve(3) == 4", False),
        (">>> solve(3)\n4", False),
        ("n + 1", False),
        ("", False),
    ],
)
def test_a_final_program_without_a_mark_beats_a_draft_and_sample_output_does_not(later: str, wins: bool) -> None:
    text = f"{block(SOLVE)}\nFinal:\n{block(later, '')}"
    assert last_code(text) == (later if wins else SOLVE)


@pytest.mark.parametrize(
    "example", ["print(solve(3))", "solve(3)", ">>> solve(3)\n4", "result = solve(3)\nprint(result)"]
)
def test_an_example_of_use_is_not_the_answer_even_where_it_is_marked(example: str) -> None:
    assert last_code(f"{block(SOLVE)}\nFor example:\n{block(example)}") == SOLVE
    assert last_code(block(example)) == (None if example.startswith(">>>") else example)


@pytest.mark.parametrize(
    ("later", "wins"),
    [
        ("def solve(n):\n    return 2", True),
        ("class Solution:\n    def solve(self, n):\n        return 2", True),
        ("async def solve(n): return 2", True),
        ("solve = lambda n: 2", True),
        ("def solve(n): return 2 +", True),  # not Python, but the last that tries
        ("def main():\n    print(solve(3))\nmain()", False),
        ("def solver(n):\n    return 2", False),
        ("solve = 3", False),
        ("solve == 3", False),
        ("import unittest\nunittest.main()", False),
    ],
)
@pytest.mark.parametrize("mark", ["python", ""])
def test_the_last_block_that_defines_the_asked_name_is_taken(later: str, wins: bool, mark: str) -> None:
    assert last_code(f"{block(SOLVE)}\nThen\n{block(later, mark)}", "solve") == (later if wins else SOLVE)


@pytest.mark.parametrize(
    "text",
    [
        f"> {FENCE}python\n> if x:\n>\n>     y()\n> {FENCE}",
        f"- {FENCE}python\nif x:\n\n    y()\n{FENCE}",
        f"Code: {FENCE}python3.11\nif x:\n\n    y()\n{FENCE} and that is it",
        f"\t{FENCE}py\n\tif x:\n\n\t    y()\n\t{FENCE}",
        f"{FENCE}markdown\n# Answer\n{FENCE}python\nif x:\n\n    y()\n{FENCE}\n{FENCE}",
        f"{FENCE}`md\n{FENCE}python\nif x:\n\n    y()\n{FENCE}\n{FENCE}`",
        f"{FENCE}`md\n{FENCE}\nif x:\n\n    y()\n{FENCE}\n{FENCE}`",
    ],
)
def test_fences_in_quotations_lists_and_markdown_are_fences(text: str) -> None:
    assert last_code(text) == "if x:\n\n    y()"


def test_odd_escapes_give_no_warning() -> None:
    code = "import re\nprint(re.sub('\\d \\\\ \\'', '', input()))"
    assert last_code(f"{block('x')}\n{block(code, '')}") == code


def test_upstream_takes_what_stands_between_the_last_two_fences() -> None:
    trailing = f"{block('print(1)')}\nNote:\n{block('prose', '')}"
    assert upstream_code(trailing) == "prose"
    assert upstream_code(block("print(1)")) == "print(1)"
    assert upstream_code("```") is None


@given(st.text(alphabet="`~ab \n\t#", max_size=300))
def test_any_text_has_blocks_or_none(text: str) -> None:
    for found in code_blocks(text):
        assert found.text in text.replace("\t", "\t") or found.text == "" or "\n" in found.text or found.text.strip()
    last_code(text)
    upstream_code(text)


@given(st.text(alphabet=st.characters(exclude_characters="`~\r", exclude_categories=["Cs"]), max_size=200))
def test_a_fenced_text_comes_back_whole(code: str) -> None:
    assert last_code(f"Here it is.\n{block(code)}\nThat is all.") == code


NASTY = [
    "`" * 200_000,
    "```\n" * 50_000,
    "```python\n" * 20_000,
    " " * 200_000,
    "~~~" * 60_000,
    "a ``" * 50_000,
    "`" * 100_000 + "a`",
    "> " * 100_000,
    f"{FENCE}\n{'(' * 200_000}\n{FENCE}",
    f"{FENCE}py\n{'-' * 200_000}1\n{FENCE}",
    f"{FENCE}\nf(1)\n{FENCE}\n" * 15_000,
]


@pytest.mark.parametrize("text", NASTY)
def test_nasty_texts_do_not_hang(text: str) -> None:
    started = time.process_time()
    last_code(text)
    upstream_code(text)
    assert time.process_time() - started < 10  # well under 1 s; a pattern that goes back over them takes minutes


# ---------------------------------------------------------------- tests' data


def packed(value: Any) -> str:
    """As upstream encodes private tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


ROWS = [{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}, {"input": "é", "output": "", "testtype": "stdin"}]


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_tests_are_decoded_plain_or_packed(protocol: int) -> None:
    text = json.dumps(ROWS)
    raw = base64.b64encode(zlib.compress(pickle.dumps(text, protocol))).decode()
    expected = [("1 2\n", "3\n"), ("é", "")]
    assert decode_tests(text) == expected
    if protocol >= 2:  # protocol 0 has another opcode for text; upstream writes 4
        assert decode_tests(raw) == expected
    assert decode_tests("[]") == []


class Harmful:
    ran = False

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (exec, ("import tests_were_executed",))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (packed(Harmful()), "opcode"),
        (packed(["text"]), "opcode"),
        (packed(b"bytes"), "opcode"),
        (
            base64.b64encode(zlib.compress(b"\x80\x04X\x02\x00\x00\x00[]r\xff\xff\xff\xff.")).decode(),
            "opcode LONG_BINPUT",
        ),
        (base64.b64encode(zlib.compress(b"\x80\x04X\xff\xff\xff\x7f[]")).decode(), "no pickled text"),
        (base64.b64encode(zlib.compress(b"")).decode(), "no pickled text"),
        (base64.b64encode(zlib.compress(b"x" * 100)[:-6]).decode(), "broken"),
        ("not base64!", "cannot be unpacked"),
        (base64.b64encode(b"no zlib").decode(), "cannot be unpacked"),
        ('[{"input": 1, "output": "x"}]', "not a list of inputs and outputs"),
        ('[{"input": "1"}]', "not a list of inputs and outputs"),
        ("[" * 100_000, "not a list of inputs and outputs"),
        (packed("{}"), "not a list of inputs and outputs"),
    ],
)
def test_what_is_no_tests_is_refused_and_nothing_is_executed(data: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        decode_tests(data)


def test_a_zip_bomb_ends_at_the_limit() -> None:
    bomb = base64.b64encode(zlib.compress(b"\0" * (64 << 20), 9)).decode()
    assert len(bomb) < 100_000
    with pytest.raises(DataError, match="over 1 MiB"):
        decode_tests(bomb, limit=1 << 20)
    assert MAX_TESTS_BYTES == 512 << 20


# ---------------------------------------------------------------- comparison


@pytest.mark.parametrize(
    ("produced", "expected", "same"),
    [
        ("3\n", "3", True),
        ("  3 \n\n", "3", True),
        ("1 2\n3", "1 2 \n 3\n", True),
        ("1  2", "1 2", True),  # as numbers
        ("a  b", "a b", False),  # as words: no
        ("3.0", "3", True),
        ("1e2", "100", True),
        ("0.30000000000000004", "0.3", False),  # no tolerance
        ("Yes", "YES", False),
        ("1\n2", "1 2", False),
        ("", "", True),
        ("", "0", False),
        ("nan", "NaN", False),
        ("sNaN", "1", False),
        ("50000000000000001", "50000000000000000", False),
        ("\N{FULLWIDTH DIGIT THREE}", "3", True),
    ],
)
def test_outputs_are_compared_as_upstream_does(produced: str, expected: str, same: bool) -> None:
    assert same_output(produced.encode(), expected) is same


def test_output_that_is_no_utf8_is_only_wrong() -> None:
    assert not same_output(b"\xff\xfe", "3")


@pytest.mark.parametrize(
    ("value", "expected", "same"),
    [
        ([1, 2], "[1, 2]", True),
        ((1, 2), "[1, 2]", True),  # a tuple at the top counts as a list
        ([(1, 2)], "[[1, 2]]", False),  # further in it does not
        (True, "1", True),
        (1.0, "1", True),
        (Fraction(1, 2), "0.5", True),
        ("1", "1", False),
        (None, "null", True),
        ({1, 2}, "[1, 2]", False),
        (float("nan"), "NaN", False),
        (float("inf"), "Infinity", True),
        (np.int64(3), "3", True),
        (np.array([1, 2]), "[1, 2]", False),
        (range(3), "[0, 1, 2]", False),
    ],
)
def test_values_are_compared_as_upstream_does(value: Any, expected: str, same: bool) -> None:
    assert same_value(codec.loads(codec.dumps(value)), expected) is same


class Equal:
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class EqualInt(int):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def test_an_object_that_equals_everything_equals_nothing() -> None:
    for value in (Equal(), [Equal()], EqualInt(7), [EqualInt(7)]):
        assert not same_value(codec.loads(codec.dumps(value)), "[3]")
        assert not same_value(codec.loads(codec.dumps(value)), "3")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.fractions(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@given(plain)
def test_values_come_through_unchanged(value: Any) -> None:
    assert codec.loads(codec.dumps(value)) == value


@pytest.mark.parametrize("kind", ["bool", "int8", "float64", "complex128", "U5"])
def test_arrays_come_through_unchanged(kind: str) -> None:
    array = np.array([[1, 0], [3, 4]]).astype(kind)
    back = codec.loads(codec.dumps([array, array.T, array[0, 0]]), arrays=True)
    assert back[0].dtype == array.dtype
    assert (back[0] == array).all()
    assert (back[1] == array.T).all()
    assert back[2] == array[0, 0]
