"""Attacks on a sealed file: raw bytes, the archive inside, and contents with a new manifest."""

from __future__ import annotations

import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import Cli

from bitparity.evidence.bundle import MANIFEST, SIGNATURE, entries, read_bundle, write_bundle
from bitparity.store.jsonl import checked_line

Members = list[tuple[tarfile.TarInfo, bytes]]
Rows = list[dict[str, Any]]


def members(path: Path) -> Members:
    """The archive's members with their content."""
    with tarfile.open(path) as archive:
        return [(info, archive.extractfile(info).read()) for info in archive]  # type: ignore[union-attr]


def packed(found: Members) -> bytes:
    """An archive of these members, written by the standard library, in bitparity's format."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info, content in found:
            info.size = len(content) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(content))
    end = raw.getvalue().rstrip(b"\0")
    return lzma.compress(end + bytes(-len(end) % 512 + 1024), preset=1)


def member(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    """A member of the archive."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, content


def with_manifest(source: Path, target: Path, change: Callable[[Path], None], **fields: object) -> Path:
    """A sealed file with changed contents and a manifest that fits them; `fields` are others of the manifest."""
    folder = target.with_suffix(".unpacked")
    folder.mkdir()
    manifest, signature = read_bundle(source, folder)
    change(folder)
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    manifest = manifest.model_copy(update={"files": entries(folder, names), **fields})
    write_bundle(target, folder, manifest, signature)
    return target


def edit_rows(path: Path, change: Callable[[Rows], object]) -> None:
    """Change the records of a JSONL file, and give them checksums that fit."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    checked = "crc32" in rows[-1]
    for row in rows:
        row.pop("crc32", None)
    change(rows)
    plain = lambda row: (json.dumps(row, ensure_ascii=False) + "\n").encode()  # noqa: E731
    path.write_bytes(b"".join(map(checked_line if checked else plain, rows)))


def refused(cli: Cli, path: Path, why: str = "") -> str:
    """The one line with which a file is refused."""
    ended = cli("verify", path)
    said = [line for line in ended.err.splitlines() if "grading" not in line]
    assert (ended.code, len(said), ended.out) == (2, 1, ""), ended
    assert said[0].startswith("error: ")
    assert why in said[0]
    return said[0]


__all__ = ["MANIFEST", "SIGNATURE", "edit_rows", "member", "members", "packed", "refused", "with_manifest"]
