"""Source code of benchmarks: what changes the syntax that a fingerprint is made of, and what does not."""

from __future__ import annotations

import ast

import pytest

from bitparity.benchmarks.source_code import syntax


def of(text: str) -> str:
    return repr(syntax(ast.parse(text)))  # what is hashed


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x  =  (1)  # why"),
        ("def f():\n    return 1", "def f():\n    '''What it does.'''\n    return 1"),
    ],
)
def test_comments_docstrings_and_spaces_change_nothing(one: str, other: str) -> None:
    assert of(one) == of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 2"),
        ("x = 1", "x = True"),
        ("x = 0", "x = None"),
        ("x = ['', 'a']", "x = ['a']"),
        ("x = []", "x = [[]]"),
        ("x = f'{a}'", "x = f'{a!r}'"),
        ("x = f'{a:{b}}'", "x = f'{a:{b}x}'"),
        ("def f(a, *, b=None): pass", "def f(a, b=None): pass"),
    ],
)
def test_each_change_of_meaning_shows(one: str, other: str) -> None:
    assert of(one) != of(other)


def test_fields_that_only_newer_versions_have_are_left_out_while_they_are_empty() -> None:
    tree = ast.parse("def f(): pass\nclass C: pass\nx = f'{a:{b}}'")
    plain = syntax(tree)
    function, klass, assigned = tree.body
    function.type_params = klass.type_params = []  # type: ignore[attr-defined]  # since 3.12
    assert isinstance(assigned, ast.Assign)
    spec = assigned.value.values[0].format_spec  # type: ignore[attr-defined]
    spec.values.append(ast.Constant(""))  # as some of 3.12 do
    assert syntax(tree) == plain
