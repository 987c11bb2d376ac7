"""What the benchmarks over one published data set share: its rows, checked, and where they came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from bitparity.benchmarks import Benchmark, Source
from bitparity.data import Row, load_rows

if TYPE_CHECKING:
    from bitparity.study import BenchmarkSpec


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

    def provenance(self) -> dict[str, Any]:
        """What `items` read: path or hub id and commit, number of rows, SHA-256 of their content."""
        return self._provenance
