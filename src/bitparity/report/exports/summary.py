"""Short Markdown report for the summary page of a CI job."""

from __future__ import annotations

from pathlib import Path

from bitparity.report.markdown import summary
from bitparity.results.build import build
from bitparity.store.run import Run


def make(run: Run, out: Path | None) -> str:
    """The answers, the scores, the verdicts, the errors."""
    return summary(build(run))
