"""Tables in a Markdown document, found by a Markdown parser and edited cell by cell: all other bytes stay.

A table inside a code fence, an indented code block or an HTML block is none; one in a list or a quotation is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token

_NEWLINE = re.compile(r"(\r\n|\r|\n)")
_BEFORE = re.compile(r"(?:[ \t]|>|(?:[-*+]|\d{1,9}[.)])[ \t])*")  # quotation and list marks before a table's first cell
_PIPE = re.compile(r"(?<!\\)\|")  # GFM: a pipe after a backslash belongs to the cell, in code spans too
Span = tuple[int, int]


@dataclass(slots=True)
class Table:
    """A table: the numbers of its lines, from 0; the header, the alignments, then the rows."""

    first: int
    last: int

    @property
    def rows(self) -> range:
        """The numbers of the lines that hold rows."""
        return range(self.first + 2, self.last)


class Document:
    """A Markdown text whose table cells can be replaced. `str()` gives the text back."""

    def __init__(self, text: str) -> None:
        self._mark, body = ("\ufeff", text[1:]) if text.startswith("\ufeff") else ("", text)
        parts = _NEWLINE.split(body)
        self.lines, self._ends = parts[::2], [*parts[1::2], ""]
        self._parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
        self._references: dict[str, object] = {}
        tokens = self._parser.parse(body, self._references)
        self.tables = [Table(t.map[0], t.map[1]) for t in tokens if t.type == "table_open" and t.map]

    def __str__(self) -> str:
        lines = (line + end for line, end in zip(self.lines, self._ends, strict=True))
        return self._mark + "".join(lines)

    def cells(self, number: int) -> list[str]:
        """The texts of a line's cells, without markup."""
        line = self.lines[number]
        return [self._plain(line[start:end]) for start, end in split(line)]

    def raw_cells(self, number: int) -> list[str]:
        """The cells of a line as they are written, without the space around."""
        line = self.lines[number]
        return [line[start:end].strip() for start, end in split(line)]

    def replace(self, number: int, contents: Mapping[int, str]) -> None:
        """Put new contents into cells of a line, by column from 0; a row that is too short gets the cells it lacks."""
        line = self.lines[number]
        spans = split(line)
        # from the last cell on, so that the places of those before stay valid
        for column, content in sorted(contents.items(), reverse=True):
            if column < len(spans):
                start, end = spans[column]
                line = line[:start] + _padded(line[start:end], content) + line[end:]
        last = max((column for column, content in contents.items() if content), default=-1)
        missing = [contents.get(column, "") for column in range(len(spans), last + 1)]
        self.lines[number] = _lengthened(line, missing) if missing else line

    def above(self, table: Table) -> str:
        """The nearest line above a table that is not blank; empty where there is none."""
        return next((line.strip() for line in reversed(self.lines[: table.first]) if line.strip()), "")

    def _plain(self, cell: str) -> str:
        tokens = self._parser.parseInline(cell.strip(), self._references)
        return "".join(_words(tokens)).strip()


def _words(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type in ("text", "code_inline", "image"):
            yield token.content
        elif token.type in ("softbreak", "hardbreak", "html_inline"):
            yield " "
        if token.children and token.type != "image":
            yield from _words(token.children)


def split(line: str) -> list[Span]:
    """Where the cells of a line begin and end, the space around them included."""
    before = _BEFORE.match(line)
    start = before.end() if before else 0
    if line[start : start + 1] == "|":
        start += 1
    spans = []
    for pipe in _PIPE.finditer(line, start):
        spans.append((start, pipe.start()))
        start = pipe.end()
    if line[start:].strip() or not spans:
        spans.append((start, len(line)))
    return spans


def _padded(old: str, content: str) -> str:
    """New content with the space around the old one, and in its width where it fits."""
    if not old.strip():
        return f" {content} ".ljust(len(old))
    before = old[: len(old) - len(old.lstrip())]
    after = old[len(old.rstrip()) :]
    return (before + content + after).ljust(len(old))


def _lengthened(line: str, contents: list[str]) -> str:
    """A row with further cells at its end, closed by a pipe if it was before."""
    body = line.rstrip()
    closed = bool(_PIPE.search(body[-2:]) and body.endswith("|"))
    added = "".join(f" {content} |" for content in contents) if closed else "".join(f" | {c}" for c in contents)
    return body + added + line[len(body) :]
