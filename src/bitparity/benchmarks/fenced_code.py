"""Code in an answer: the fenced blocks of a Markdown text, and the block that is the answer.

One rule for all benchmarks that run code; docs/protocol.md states it beside what upstream does.
"""

from __future__ import annotations

import ast
import builtins
import os.path
import re
from typing import NamedTuple

_FENCE = re.compile(r"(?P<indent>[ \t>]*+)(?P<marks>`{3,}+(?!.*`)|~{3,}+)(?P<gap>[ \t]*)(?P<info>.*)")
_OPENED_LATE = re.compile(r".*\S[ \t]+(?P<indent>)(?P<marks>`{3,}+)(?P<info>[^`]*)")
_PYTHON = re.compile(r"(?:lang(?:uage)?-)?(?:[ic]?python|pypy|py)[-_]?\d*")
_WORD = re.compile(r"[^\s{}\[\]()#!.,:;=\"'/]+")
_ESCAPE = re.compile(r"(\\[\n\\'\"])|\\")
_FUNCTIONS = frozenset(name for name in dir(builtins) if not isinstance(getattr(builtins, name), type))


class Block(NamedTuple):
    """A complete fenced block: its language ("python", "" without one, or another word in lower case), and the text."""

    language: str
    text: str


def language_of(info: str) -> str:
    """The language that a fence's info string names, whatever versions, files and attributes come with it.

    The first word names it; attributes in braces and a `#!` line name it anywhere.
    """
    info = info.strip().lower()
    first = info if info[:1] in ("{", "#") else info.partition(" ")[0].partition("\t")[0]
    words = _WORD.findall(first)
    if any(_PYTHON.fullmatch(word) for word in words):
        return "python"
    return "" if not words or "=" in first else words[0]


def code_blocks(text: str) -> list[Block]:
    """The fenced blocks of a Markdown text that are closed again, in order, without the indent of their fences.

    As in CommonMark, but that a block marked as Python may also be opened at the end of a line of text, and closed
    by a line that goes on with text, and that blocks inside a block marked as Markdown are blocks.
    """
    blocks: list[Block] = []
    opened: list[tuple[re.Match[str], str, list[str]]] = []  # fences that wait for their end: language, lines
    for line in text.split("\n"):
        fence = _FENCE.fullmatch(line.rstrip())
        if opened and opened[-1][1] not in ("markdown", "md"):
            start, language, lines = opened[-1]
            if fence and _closes(start, fence, language):
                blocks.append(Block(language, "\n".join(lines)))
                opened.pop()
            else:
                shared = os.path.commonprefix([start["indent"], line])  # noqa: RUF071 - it is characters that count
                lines.append(line[len(shared) :])
        elif opened and fence and _closes(opened[-1][0], fence, opened[-1][1]):
            opened.pop()
        elif fence:
            opened.append((fence, language_of(fence["info"]), []))
        elif "`" in line and (late := _OPENED_LATE.fullmatch(line)) and language_of(late["info"]) == "python":
            opened.append((late, "python", []))
    return blocks


def _closes(opened: re.Match[str], fence: re.Match[str], language: str) -> bool:
    same = fence["marks"][0] == opened["marks"][0] and len(fence["marks"]) >= len(opened["marks"])
    prose = bool(fence["gap"]) and language == "python"
    return same and (prose or not fence["info"].strip())


def last_code(text: str, name: str | None = None) -> str | None:
    """The code of an answer: the last complete block that is Python; None without one.

    A block is Python where its fence says so, or where its fence says nothing and it is a program. Blocks that define
    the asked `name` come before others, and others before examples of what an earlier block defines. Without any
    such block it is the last one whose fence says nothing, then the last program under another mark.
    """
    blocks = code_blocks(text)
    plain = [block.text for block in blocks if not block.language]
    if name is not None:
        word = re.escape(name)
        defines = re.compile(rf"^[ \t]*(?:(?:async\s+)?(?:def|class)\s+{word}\b|{word}\s*=\s*lambda\b)", re.MULTILINE)
        named = [block.text for block in blocks if block.language in ("python", "") and defines.search(block.text)]
        if named:
            return named[-1]
    if python := [block.text for block in blocks if _is_python(block)]:
        return (_without_examples(python) or python)[-1]
    programs = (block.text for block in reversed(blocks) if _is_program(block.text))
    return plain[-1] if plain else next(programs, None)


def _is_python(block: Block) -> bool:
    marked = block.language == "python" or (not block.language and _is_program(block.text))
    return marked and not block.text.lstrip().startswith(">>>")  # a console's


def _without_examples(codes: list[str]) -> list[str]:
    """The codes that do more than use functions and classes of an earlier one."""
    if len(codes) == 1:  # parsing takes as long as all the rest
        return codes
    known: set[str] = set()
    kept = []
    for code in codes:
        nodes = list(ast.walk(_parsed(code)))
        made = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
        if made or not _called(nodes) & known - _bound(nodes):
            kept.append(code)
        known |= made
    return kept


def _parsed(code: str) -> ast.Module:
    """The syntax tree, empty where the code has none. Escapes in strings are left out: some give warnings."""
    try:
        return ast.parse(_ESCAPE.sub(r"\1", code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])


def _is_program(code: str) -> bool:
    """True where code does more than name values, as sample output would: "x = 5", "Answer: 3", "Box(2)"."""
    for node in _parsed(code).body:
        if hasattr(node, "body") or isinstance(node, ast.Import | ast.ImportFrom):
            return True
        inner = list(ast.walk(value)) if (value := getattr(node, "value", None)) is not None else []
        calls = [n.func for n in inner if isinstance(n, ast.Call)]
        if _called(inner) & _FUNCTIONS or any(isinstance(called, ast.Attribute) for called in calls):
            return True
    return False


def _called(nodes: list[ast.AST]) -> set[str]:
    return {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def _bound(nodes: list[ast.AST]) -> set[str]:
    names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names | {node.asname or node.name for node in nodes if isinstance(node, ast.alias)}


def upstream_code(text: str) -> str | None:
    """LiveCodeBench's own rule (`extract_code`): what stands between the last two lines with three backticks."""
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if "```" in line]
    return "\n".join(lines[fences[-2] + 1 : fences[-1]]) if len(fences) >= 2 else None
