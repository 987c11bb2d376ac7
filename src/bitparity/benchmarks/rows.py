"""What the benchmarks over one published data set share: its rows, checked, and where they came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from bitparity.benchmarks.contract import Benchmark, Source
from bitparity.benchmarks.dataset import Row, load_rows

if TYPE_CHECKING:
    from bitparity.schema import BenchmarkSpec


class RowsBenchmark(Benchmark):
    """A benchmark whose items are the rows of a data set, `source`, or of the study's own file of them."""

    source: ClassVar[Source]
    fields: ClassVar[Mapping[str, tuple[type, ...]]]
    """The required fields with their types, as `data.load_rows` takes them."""

    def __init__(self, spec: BenchmarkSpec) -> None:
        super().__init__(spec)
        self._provenance: dict[str, Any] = {}

    def rows(self, item_id: Callable[[Row], str]) -> list[Row]:
        """The checked rows. Raises DataError."""
        rows, self._provenance = load_rows(self.spec.data, self.source, self.fields, item_id)
        return rows

    def notes(self) -> list[str]:
        """Where the rows are not the published ones: another number of them, or other content."""
        source, rows = self.source, self._provenance.get("rows")
        if rows is None or source.rows is None:
            return []
        if rows != source.rows:
            return [f"{rows:,} rows were read, the published data set has {source.rows:,}: not the published benchmark"]
        if source.sha256 not in (None, self._provenance["sha256"]):
            return [
                f"the content of the rows (sha256 {self._provenance['sha256'][:12]}) is not that which this version of "
                f"bitparity was tested with ({(source.sha256 or '')[:12]}): questions or answers differ somewhere"
            ]
        return []

    def provenance(self) -> dict[str, Any]:
        """What `items` read: path or hub id and commit, number of rows, SHA-256 of their content."""
        return self._provenance
