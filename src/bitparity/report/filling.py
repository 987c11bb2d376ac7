"""Scores of a run for a table in somebody's own Markdown document.

A table is filled where its header names variants and its rows name benchmarks, like
`| 维度 | 指标 | NVFP4 | FP8 | BF16 | 备注 |`. A cell gets score and interval, the notes column the verdicts, inside
`<!-- bitparity -->` and `<!-- /bitparity -->`: what stands around these marks is the user's own and stays. Filling
again replaces what was filled. A line `<!-- bitparity: STUDY -->` above a table keeps it for the study of that name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bitparity.errors import UserInputError
from bitparity.inputs.input_files import read_regular
from bitparity.report.labels import Columns, match_columns, match_row
from bitparity.report.language import Lang, guard_title, parted, text
from bitparity.report.markdown import escaped
from bitparity.report.pipe_tables import Document, Table
from bitparity.report.words import clause, score_beside, unmeasured
from bitparity.results.schema import Benchmark, Results
from bitparity.store.jsonl import write_atomically

OPEN, CLOSE = "<!-- bitparity -->", "<!-- /bitparity -->"
_OURS = re.compile(rf"\s*{re.escape(OPEN)}.*?(?:{re.escape(CLOSE)}|$)")
_BOUND = re.compile(r"<!--\s*bitparity:\s*(\S+)\s*-->")
_CHINESE = re.compile(r"[\u3400-\u9fff]")


@dataclass(slots=True)
class Filled:
    """A filled document: its text, how many cells hold something of the run, and the messages for the user."""

    text: str
    cells: int = 0
    messages: list[str] = field(default_factory=list)


def read(path: Path) -> str:
    """The document's text. Raises UserInputError where it cannot be read or is not UTF-8."""
    try:
        return read_regular(path).decode("utf-8")
    except OSError as error:
        raise UserInputError(f"{path} cannot be read: {error.strerror}; give a Markdown file to --fill") from None
    except UnicodeDecodeError as error:
        raise UserInputError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None


def write(path: Path, results: Results, lang: Lang | None = None) -> Filled:
    """Fill the tables of a document in place, whole or not at all; a document that needs no change is not touched.

    Raises UserInputError where it cannot be read or has no table to fill.
    """
    before = read(path)
    filled = fill(before, results, lang)
    if not filled.cells:
        names = ", ".join(results.variants)
        why = f" ({'; '.join(filled.messages)})" if filled.messages else ""
        raise UserInputError(
            f"{path} has no table to fill: none has a header that names a variant ({names}) and rows that name "
            f"benchmarks, like | benchmark | NVFP4 | FP8 | BF16 | notes |{why}"
        )
    if filled.text != before:
        # through a link to the file itself, which keeps its mode: it is the user's
        place = path.resolve()
        mode = place.stat().st_mode
        write_atomically(place, [filled.text])
        place.chmod(mode)
    return filled


def fill(document: str, results: Results, lang: Lang | None = None) -> Filled:
    """Fill every table of a document that fits; `lang` None: the language of the table's header."""
    found = Document(document)
    filled = Filled("")
    for table in found.tables:
        _fill_table(found, table, results, lang, filled)
    filled.text = str(found)
    return filled


def _fill_table(document: Document, table: Table, results: Results, lang: Lang | None, filled: Filled) -> None:
    header = document.cells(table.first)
    columns = match_columns(header, results.variants)
    if not columns.variants:
        return
    place = f"line {table.first + 1}"
    bound = _BOUND.fullmatch(document.above(table))
    if bound and bound[1] != results.study.name:
        filled.messages.append(f"{place}: this table is kept for study '{bound[1]}'")
        return
    matched: dict[int, str] = {}
    naming: set[int] = set()
    unmatched: list[str] = []
    for number in table.rows:
        cells = document.cells(number)
        places = [column for column in columns.labels if column < len(cells)]
        labels = [cells[column] for column in places]
        match = match_row(labels, results.benchmarks)
        if match.benchmark is not None:
            matched[number] = match.benchmark
            naming.add(places[match.label or 0])
        elif match.reason is not None:
            unmatched.append(f"line {number + 1}: row '{' | '.join(filter(None, labels))}' is left: {match.reason}")
    if not matched:
        filled.messages.append(f"{place}: no row of this table names a benchmark")
        return
    lang = lang or ("zh" if _CHINESE.search("".join(header)) else "en")
    for number, name in matched.items():
        contents = _contents(document.raw_cells(number), columns, name, results, lang)
        document.replace(number, contents)
        filled.cells += len(contents)
    extra = [column for column in columns.labels if column > min({*columns.variants, *naming}) and column not in naming]
    columns.unmatched |= dict.fromkeys(extra, "it names no variant of this run")
    filled.messages += [f"{place}: {line}" for line in _about(header, columns, matched, results)] + unmatched


def _about(header: list[str], columns: Columns, matched: Mapping[int, str], results: Results) -> list[str]:
    """Messages on one table: its columns and rows that were matched, and those that were not."""
    said = ", ".join(f"'{header[column]}' is {name}" for column, name in sorted(columns.variants.items()))
    lines = [f"filled {len(matched)} rows; {said}"]
    lines += [f"column '{header[column]}' is left: {why}" for column, why in sorted(columns.unmatched.items())]
    if columns.notes is None:
        lines.append("no column for notes: what must be known of a figure stands in its cell")
    wanted = [name for name, variant in results.variants.items() if not variant.control]
    if missing := [name for name in wanted if name not in columns.variants.values()]:
        lines.append(f"no column for {', '.join(missing)}")
    if missing := [name for name in results.benchmarks if name not in matched.values()]:
        lines.append(f"no row for {', '.join(missing)}")
    return lines


def _contents(row: list[str], columns: Columns, benchmark: str, results: Results, lang: Lang) -> dict[int, str]:
    """The new contents of a row's cells, by column."""
    entry, missing = results.benchmarks.get(benchmark), text("not_available", lang)
    if entry is None:
        # none of the study's: N/A where nothing stands yet; another study's figures stay
        if any(row[column] not in ("", missing) for column in columns.variants if column < len(row)):
            return {}
        shown, notes = dict.fromkeys(columns.variants.values(), missing), [text("fill.not_in_study", lang)]
    else:
        general, names = _general(entry, lang), list(columns.variants.values())
        caveats = {name: _caveats(name, entry, lang) for name in names}
        shown = {name: score_beside(name, entry, lang) if entry.measured else missing for name in names}
        if columns.notes is None:
            shown = {name: parted([cell, *map(escaped, general + caveats[name])], lang) for name, cell in shown.items()}
        notes = general + [line for name in names for line in (*_verdict(name, entry, lang), *caveats[name])]
    contents = {column: shown[name] for column, name in columns.variants.items()}
    if columns.notes is not None:
        contents[columns.notes] = _noted(row, columns.notes, parted(notes, lang))
    return contents


def _general(entry: Benchmark, lang: Lang) -> list[str]:
    """Caveats of all figures of a benchmark."""
    if not entry.measured:
        return [unmeasured(entry, lang)]
    limited = entry.items < entry.available
    said = [text("fill.limited", lang, items=entry.items, available=entry.available)] if limited else []
    return said + [guard_title(guard.name, lang) for guard in entry.guards if guard.name == "fewer_items"]


def _verdict(name: str, entry: Benchmark, lang: Lang) -> list[str]:
    """The verdict on one variant, if it is a candidate with a valid one."""
    comparison = entry.comparisons.get(name)
    if comparison is None or comparison.control or comparison.verdict == "invalid":
        return []
    return [text("colon", lang, name=name, said=clause(comparison, entry.margin, lang))]


def _caveats(name: str, entry: Benchmark, lang: Lang) -> list[str]:
    """Caveats of one variant's figure."""
    said = []
    comparison, found = entry.comparisons.get(name), entry.scores.get(name)
    if comparison is not None and comparison.verdict == "invalid":
        said.append(text("fill.invalid", lang, name=name, guards=comparison.invalid_by))
    if found is not None and found.unscored:
        said.append(text("fill.unscored", lang, name=name, count=found.unscored))
    return said


def _noted(row: list[str], column: int, said: str) -> str:
    """A notes cell: what the user wrote, then ours between the marks."""
    kept = _OURS.sub("", row[column] if column < len(row) else "").strip()
    # a reason may hold our own closing mark: an HTML comment in it would end the part that is ours
    ours = f"{OPEN}{escaped(said.replace('<!--', ''))}{CLOSE}" if said else ""
    return " ".join(part for part in (kept, ours) if part)
