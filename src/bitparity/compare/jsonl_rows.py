"""Plain JSONL: one row a sample, `{"item", "score", "sample"?, "group"?, "subgroup"?, "benchmark"?}`."""

from __future__ import annotations

from collections.abc import Mapping

from bitparity.compare.records import Given, ItemResult, Results, Source, unit_score
from bitparity.errors import DataError

UNNAMED = "results"
"""The benchmark of rows that name none."""


def finds(given: Given) -> bool:
    """True for rows that have an item or a score."""
    return bool({"item", "score"} & given.first_row().keys())


def read(given: Given) -> Source:
    """Raises DataError naming the line where a field is missing or of another kind, or a sample stands twice."""
    path = given.path
    found: dict[str, dict[str, ItemResult]] = {}
    lines: dict[tuple[str, str, int], int] = {}
    for number, row in enumerate(given.rows, 1):
        where = f"{path}, line {number}"
        if missing := [name for name in ("item", "score") if name not in row]:
            raise DataError(f'{where}: no field {missing[0]}; each row needs "item" and "score"')
        item, benchmark = _name(row, "item", where), _optional(row, "benchmark", where) or UNNAMED
        sample = _sample(row, where)
        first = lines.setdefault((benchmark, item, sample), number)
        if first != number:
            raise DataError(
                f"{path}: sample {sample} of item '{item}' stands twice, in lines {first} and {number}; "
                'keep one, or number the samples with "sample"'
            )
        group, subgroup = _optional(row, "group", where), _optional(row, "subgroup", where)
        checks = {key: value for key, value in (("group", group), ("subgroup", subgroup)) if value is not None}
        result = found.setdefault(benchmark, {}).setdefault(item, ItemResult(item, {}, checks, group, subgroup))
        if result.checks != checks:
            raise DataError(f"{where}: item '{item}' has another group or subgroup than in an earlier line")
        result.scores[sample] = unit_score(row["score"], f"{where}: the score of item '{item}'")
    stem = path.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".json")
    return Source(stem or path.name, given.text, "jsonl", {name: Results(name, items) for name, items in found.items()})


def _name(row: Mapping[str, object], key: str, where: str) -> str:
    value = row[key]
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"{where}: {key} must be a text or an integer, not {str(value)[:40]!r}")
    return str(value)


def _optional(row: Mapping[str, object], key: str, where: str) -> str | None:
    return None if row.get(key) is None else _name(row, key, where)


def _sample(row: Mapping[str, object], where: str) -> int:
    value = row.get("sample", 0)
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"{where}: sample must be an integer, not {str(value)[:40]!r}")
    return value
