"""Per-item results from anywhere: runs of bitparity, lm-eval's sample logs, plain JSONL rows.

`read("artifacts/toy:fp8")`, `read("out/samples_gsm8k_2026-01-31.jsonl")`, `read("scores.jsonl.gz")`
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bitparity.compare.records import Source
from bitparity.errors import DataError, UserInputError


def read_all(given: Sequence[str], filter_name: str | None = None, metric: str | None = None) -> list[Source]:
    """`read` for several arguments. Raises UserInputError too where a filter or metric has nothing to choose from."""
    sources = [read(each, filter_name, metric) for each in given]
    if (filter_name or metric) and all(source.kind != "lm-eval" for source in sources):
        raise UserInputError("--filter and --metric choose among lm-eval's logs, and none was given; leave them out")
    return sources


def read(given: str, filter_name: str | None = None, metric: str | None = None) -> Source:
    """The results that a command-line argument names; `filter_name` and `metric` choose among lm-eval's.

    Raises UserInputError (DataError, RunError) with one line where they cannot be read.
    """
    path, variant = _split(given)
    if path.is_dir() and (path / "study.yaml").is_file():
        from bitparity.compare.runs import read_run

        return read_run(given, path, variant)
    if variant is not None:
        raise UserInputError(f"{path} is no run directory (it has no study.yaml), so it has no variant '{variant}'")
    from bitparity.compare.lm_eval_logs import is_sample_row, read_logs, sample_files

    if path.is_dir():
        return read_logs(given, path, sample_files(path), filter_name, metric)
    from bitparity.benchmarks.dataset import read_jsonl

    rows = read_jsonl(path)
    if is_sample_row(rows[0]):
        return read_logs(given, path, [path], filter_name, metric)
    if "item" in rows[0] or "score" in rows[0]:
        from bitparity.compare.jsonl_rows import read_rows

        return read_rows(given, path, rows)
    found = ", ".join(list(rows[0])[:8]) or "none"
    raise DataError(
        f"{path} is neither a sample log of lm-eval nor rows with the fields item and score (fields of its first "
        f'line: {found}); convert it to one {{"item": ..., "score": ...}} a line'
    )


def _split(given: str) -> tuple[Path, str | None]:
    """The path and, for RUN:VARIANT, the variant. Raises DataError where nothing is there."""
    path = Path(given).expanduser()
    if path.exists():
        return path, None
    folder, colon, variant = given.rpartition(":")
    if colon and folder and Path(folder).expanduser().is_dir():
        return Path(folder).expanduser(), variant
    raise DataError(
        f"{given} does not exist; give a run directory (RUN:VARIANT), a sample log of lm-eval or JSONL rows"
    )
