"""Rows of a benchmark's data set, from a local JSONL file or from the hub at the pinned commit, and their benchmark.

Every row is checked before it is used, so that a wrong file is named here and not by a strange score later.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib.util
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from bitparity.benchmarks.contract import Benchmark, Source
from bitparity.errors import DataError, GatedDataError, MissingDependencyError, UnavailableError
from bitparity.inputs.input_files import LARGEST_DATA, read_regular, unpacked
from bitparity.models.hub import use_cache_where_unreachable

Row = dict[str, Any]
TYPE_NAMES = {str: "a text", int: "an integer", list: "a list of texts"}


class Rows(NamedTuple):
    """Checked rows and what they were: path or hub id and commit, number, SHA-256 of their content."""

    rows: list[Row]
    provenance: dict[str, object]


def load_rows(
    path: str | None,
    source: Source,
    fields: Mapping[str, tuple[type, ...]],
    item_id: Callable[[Row], str] | None = None,
) -> Rows:
    """The rows of the file `path`, or of `source` on the hub where `path` is None.

    `fields` names the required fields with the types each may have: str, int, and list for a list of
    texts. `item_id` gives a row's item id, refused where it comes twice; None where rows are no items.
    The SHA-256 is over the required fields alone, so one data set has
    one hash wherever it came from. Raises DataError, GatedDataError or MissingDependencyError.
    """
    if path is None:
        rows, origin, unit = hub_rows(source), f"data set {source.path} ({source.split})", "row"
        if source.rows is not None and len(rows) != source.rows:
            # a download that lost rows would otherwise be a smaller benchmark
            raise DataError(
                f"data set {source.path} ({source.split}) at {source.revision} has {source.rows:,} rows, but "
                f"{len(rows):,} came from the hub or its cache; remove it from the cache in HF_HOME and run again"
            )
        place = {"hub": source.path, "config": source.config, "split": source.split, "revision": source.revision}
    else:
        rows, origin, unit = read_jsonl(Path(path)), str(path), "line"
        place = {"path": origin}
    if not rows:
        raise DataError(f"{origin} holds no rows; give a file with one JSON object a line")
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        _check_fields(row, fields, f"{origin}, {unit} {number}")
    for number, name in enumerate(map(item_id, rows) if item_id else (), 1):
        if (first := seen.setdefault(name, number)) != number:
            where = f"{unit}s {first} and {number}"
            raise DataError(f"{origin}: item id '{name}' stands twice, in {where}; keep one")
    return Rows(rows, {**place, "rows": len(rows), "sha256": content_hash(rows, fields)})


class RowsBenchmark(Benchmark):
    """A benchmark whose items are the rows of a data set, `source`, or of the study's own file of them.

    `fields` are the required fields with their types, as `load_rows` takes them.
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


def read_jsonl(path: Path) -> list[Row]:
    """The objects of a JSONL file, plain or gzip, UTF-8. Raises DataError naming file and line."""
    try:
        text = _file_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8; save the file as UTF-8 JSONL") from None
    # not str.splitlines: a JSON text may hold U+2028 and the like as they are
    lines = text.rstrip().split("\n")
    if lines == [""]:
        raise DataError(f"{path} is empty; give a file with one JSON object a line")
    return [_parse_line(line, path, number) for number, line in enumerate(lines, 1)]


def _file_bytes(path: Path) -> bytes:
    try:
        return unpacked(read_regular(path, LARGEST_DATA))
    except FileNotFoundError:
        raise DataError(f"data file {path} does not exist; check the path in the study") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file ({error}); copy or download it again") from None
    except OSError as error:
        raise DataError(f"data file {path} cannot be read: {error.strerror}") from None


def _parse_line(line: str, path: Path, number: int) -> Row:
    where = f"{path}, line {number}"
    if not line.strip():
        raise DataError(f"{where}: the line is empty; each line must hold one JSON object, was a row lost?")
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise DataError(f"{where}: broken JSON ({reason}); each line must hold one JSON object") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: {type(row).__name__} instead of an object; is this JSON and not JSONL?")
    return row


def _check_fields(row: Row, fields: Mapping[str, tuple[type, ...]], where: str) -> None:
    missing = [name for name in fields if name not in row]
    if missing:
        hint = "; is this a file of another benchmark?" if 2 * len(missing) > len(fields) else ""
        raise DataError(f"{where}: no field {', '.join(missing)}{hint}")
    for name, types in fields.items():
        if not _is_one_of(row[name], types):
            wanted = " or ".join(TYPE_NAMES[t] for t in types)
            raise DataError(f"{where}: field {name} must be {wanted}, not {json.dumps(row[name])[:60]}")


def _is_one_of(value: object, types: tuple[type, ...]) -> bool:
    if isinstance(value, list):
        return list in types and bool(value) and all(isinstance(v, str) for v in value)
    filled = value.strip() != "" if isinstance(value, str) else not isinstance(value, bool)
    return isinstance(value, types) and filled


def content_hash(rows: Iterable[Row], fields: Iterable[str]) -> str:
    """SHA-256 over the named fields of the rows, as canonical JSON in the rows' order, hex."""
    names, encode = sorted(fields), json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    text = "\n".join(encode([row[name] for name in names]) for row in rows)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hub_rows(source: Source) -> list[Row]:
    """All rows of a data set on the hub at the pinned commit. Raises DataError and its kinds."""
    with _hub(source, "datasets"):
        import datasets

        loaded = datasets.load_dataset(source.path, source.config, split=source.split, revision=source.revision)
    # pictures would be decoded, one by one, for nobody
    pictures = [name for name, kind in loaded.features.items() if isinstance(kind, datasets.Image)]
    return [dict(row) for row in loaded.remove_columns(pictures)]


def hub_file(source: Source, name: str) -> Path:
    """A file of a data set on the hub at the pinned commit, downloaded once. Raises DataError and its kinds."""
    with _hub(source, "huggingface_hub"):
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(source.path, name, repo_type="dataset", revision=source.revision))


@contextlib.contextmanager
def _hub(source: Source, package: str) -> Iterator[None]:
    """Say what a failed import or download means."""
    if importlib.util.find_spec(package) is None:
        raise MissingDependencyError(package, "hub", f"reading {source.path} from the hub")
    why_not = use_cache_where_unreachable()
    try:
        yield
    except Exception as error:  # the hub's libraries raise anything, from OSError to bare Exception
        raise _hub_error(source, error, why_not) from None


def _hub_error(source: Source, error: BaseException, why_not: str | None) -> DataError:
    """The error that a failed download stands for, read from its chain of causes."""
    chain = [error]
    # a chain of causes may lead back to itself
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    names = {type(e).__name__ for e in chain}
    statuses = {getattr(getattr(e, "response", None), "status_code", None) for e in chain}
    if "GatedRepoError" in names or "gated dataset" in str(error) or (source.gated and statuses & {401, 403}):
        return GatedDataError(source.path)
    what = f"data set {source.path} at {source.revision}"
    if why_not is not None:
        return UnavailableError(
            f"{what} is not whole in the cache and the hub cannot be reached ({why_not}); check the network, "
            "or give a local file with 'data:' in the study"
        )
    if names & {"RepositoryNotFoundError", "RevisionNotFoundError", "DatasetNotFoundError"}:
        return UnavailableError(f"{what} was not found on the hub; give the rows with 'data:' in the study")
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return UnavailableError(
        f"{what} could not be read from the hub ({reason[:200]}); check the network and HF_HUB_OFFLINE, "
        "or give a local file with 'data:' in the study"
    )
