"""Results as Parquet: the rows and columns of the CSV, with types."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bitparity.errors import MissingDependencyError
from bitparity.report.exports.csv import COLUMNS, rows
from bitparity.results.build import build
from bitparity.safe_io.redaction import redacted
from bitparity.store.jsonl import replacing
from bitparity.store.run import Run


def _without_secrets(row: Mapping[str, object]) -> dict[str, object]:
    return {column: redacted(value) if isinstance(value, str) else value for column, value in row.items()}


def make(run: Run, out: Path | None) -> list[Path]:
    """Write the rows. Raises MissingDependencyError without pyarrow, RunError or StoreError where that fails."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError("pyarrow", "hub", "the export as Parquet") from None
    kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    schema = pyarrow.schema([(column, kinds[kind]) for column, kind in COLUMNS.items()])
    table = pyarrow.Table.from_pylist(list(map(_without_secrets, rows(build(run)))), schema=schema)
    path = out or run.path / "export" / "results.parquet"
    # written beside and then renamed, so that nobody reads half a file
    with replacing(path) as part:
        pyarrow.parquet.write_table(table, part)
    return [path]
