"""Benchmarks whose items are the rows of one published data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from bitparity.benchmarks.contract import Benchmark, Source
from bitparity.benchmarks.dataset import Row, load_rows


class RowsBenchmark(Benchmark):
    """A benchmark whose items are the rows of a data set, `source`, or of the study's own file of them.

    `fields` are the required fields with their types, as `dataset.load_rows` takes them.
    """

    source: ClassVar[Source]
    fields: ClassVar[Mapping[str, tuple[type, ...]]]

    def rows(self, item_id: Callable[[Row], str]) -> list[Row]:
        """The checked rows. Raises DataError."""
        rows, self._provenance = load_rows(self.spec.data or self.packaged(), self.source, self.fields, item_id)
        return rows

    def packaged(self) -> str | None:
        """Path of a file of rows that an installed package carries; None where the rows come from the hub."""
        return None

    def notes(self) -> list[str]:
        """Where the rows are not the published ones: another number of them, or other content."""
        published, rows, sha256 = self.source, self._provenance.get("rows"), str(self._provenance.get("sha256"))
        if rows is None or published.rows is None:
            return []
        if rows != published.rows:
            return [
                f"{rows:,} rows were read, the published data set has {published.rows:,}: not the published benchmark"
            ]
        if published.sha256 not in (None, sha256):
            return [
                f"the content of the rows (sha256 {sha256[:12]}) is not that which this version of "
                f"bitparity was tested with ({(published.sha256 or '')[:12]}): questions or answers differ somewhere"
            ]
        return []
