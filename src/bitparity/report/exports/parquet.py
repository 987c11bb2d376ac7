"""Results as Parquet: the rows and columns of the CSV, with types."""

from __future__ import annotations

from pathlib import Path

from bitparity.errors import MissingDependencyError
from bitparity.redaction import redacted
from bitparity.report.exports.csv import COLUMNS, rows
from bitparity.results.build import build
from bitparity.store.jsonl import replacing
from bitparity.store.run import Run


def make(run: Run, out: Path | None) -> list[Path]:
    """Write the rows. Raises MissingDependencyError without pyarrow, RunError or StoreError where that fails."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError("pyarrow", "hub", "the export as Parquet") from None
    made = rows(build(run))
    kinds = {"str": pyarrow.string(), "int": pyarrow.int64(), "float": pyarrow.float64()}
    schema = pyarrow.schema([(column, kinds[kind]) for column, kind in COLUMNS.items()])
    held = [{key: redacted(each) if isinstance(each, str) else each for key, each in row.items()} for row in made]
    table = pyarrow.Table.from_pylist(held, schema=schema)
    path = out or run.path / "export" / "results.parquet"
    # written beside and then renamed, so that nobody reads half a file
    with replacing(path) as part:
        pyarrow.parquet.write_table(table, part)
    return [path]
