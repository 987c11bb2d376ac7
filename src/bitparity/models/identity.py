"""Identity of a checkpoint: hashes and commits that tell it from any other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from bitparity.inputs.input_files import LARGEST_DATA, open_regular, read_regular
from bitparity.models.checkpoint import chat_template, context_length, resolve_tokenizer, weight_files
from bitparity.models.config import read_config
from bitparity.models.quantization import declared_quantization
from bitparity.models.safetensors import bytes_by_type, read_tensors
from bitparity.schema import Variant

FULL_HASH_BYTES = 2 << 30  # weights up to this size are hashed whole: at about 1 GB/s that takes a few seconds
_BLOCK = 1 << 20
# larger weights are sampled, or each start of a run would read hundreds of gigabytes
_SAMPLED_BLOCKS = 64  # of a file of larger weights: head, tail and this many blocks between, evenly spaced

_TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt"),
)


def identity_of(variant: Variant, folder: Path) -> dict[str, object]:
    """The identity of a variant's checkpoint as JSON values: SHA-256 hashes, declared quantization, length, hub commit.

    Weights up to 2 GiB are hashed whole (`sha256` over each file's name, size and content, and
    `sha256_by_file`); larger ones by sizes, heads, tails and evenly spaced blocks only (`sampled_sha256`),
    which tells checkpoints apart but does not prove every byte. With it stands the tokenizer that the study names for
    it; with `trust_remote_code` the folder's Python files are hashed too, since they are run.
    """
    architectures = read_config(folder).items("architectures")
    return {
        "path": str(folder),
        "revision": _hub_commit(folder),
        "architecture": architectures[0] if architectures else None,
        "weights": _weights_identity(weight_files(folder)),
        "config_sha256": _hash(folder / "config.json"),
        "generation_config_sha256": _hash(folder / "generation_config.json"),
        **(other_tokenizer(resolve_tokenizer(variant)) if variant.tokenizer else tokenizer_identity(folder)),
        **({"code_sha256": _hashes(folder, sorted(folder.rglob("*.py")))} if variant.engine.trust_remote_code else {}),
        "quantization": declared_quantization(folder),
        "context_length": context_length(folder),
    }


def tokenizer_identity(folder: Path) -> dict[str, object]:
    """The hashes (SHA-256) of a folder's tokenizer files and of its chat template's text, wherever that is kept."""
    template = chat_template(folder)
    return {
        "tokenizer_sha256": _hashes(folder, [folder / name for name in _TOKENIZER_FILES]),
        "chat_template_sha256": None if template is None else hashlib.sha256(template.encode()).hexdigest(),
    }


def other_tokenizer(folder: Path) -> dict[str, object]:
    """The identity of a tokenizer that is not the model's own, and where it lies."""
    return {"tokenizer": {"path": str(folder), "revision": _hub_commit(folder)}, **tokenizer_identity(folder)}


def differing(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """The keys in which two identities differ, as far as both have them; where the files lie does not count.

    A folder outside the hub's cache has no commit (`revision`).
    Of a variant with a tokenizer of its own, runs of earlier versions noted the one in the model's folder, and not
    where it lay: those hashes say nothing about the tokenizer that was used.
    """
    ignored = {"path", "named", "tokenizer"}
    if None in (one.get("revision"), other.get("revision")):
        ignored.add("revision")
    if "weights" in one and ("tokenizer" in one) != ("tokenizer" in other):
        ignored |= {"tokenizer_sha256", "chat_template_sha256"}
    return sorted(key for key in (one.keys() & other.keys()) - ignored if _differs(key, one[key], other[key]))


def _differs(key: str, one: object, other: object) -> bool:
    if key == "weights" and isinstance(one, Mapping) and isinstance(other, Mapping):
        return any(one[part] != other[part] for part in one.keys() & other.keys())
    return one != other


def _hashes(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of those files that are there, by their path in the folder."""
    return {f.relative_to(folder).as_posix(): digest for f in files if (digest := _hash(f)) is not None}


def _hub_commit(folder: Path) -> str | None:
    """The commit of a folder inside the hub's cache, models--<org>--<name>/snapshots/<commit>."""
    inside = folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--")
    return folder.name if inside else None


def _hash(path: Path) -> str | None:
    return hashlib.sha256(read_regular(path, LARGEST_DATA)).hexdigest() if path.exists() else None


def _weights_identity(files: list[Path]) -> dict[str, object]:
    sizes = {file: file.stat().st_size for file in files}
    sampled = sum(sizes.values()) > FULL_HASH_BYTES
    whole, by_file = hashlib.sha256(), dict[str, str]()
    for file, size in sizes.items():
        # name and size too: bytes must not be able to move from one file's end to the next one's start
        whole.update(f"{file.name}\0{size}\0".encode())
        own = hashlib.sha256()
        for block in _blocks(file, size, sampled):
            whole.update(block)
            own.update(block)
        by_file[file.name] = own.hexdigest()
    digest = whole.hexdigest()
    tensors = read_tensors(files)
    return {
        "files": len(files),
        "bytes": sum(sizes.values()),
        **({"sampled_sha256": digest} if sampled else {"sha256": digest, "sha256_by_file": by_file}),
        **({} if tensors is None else {"bytes_by_type": bytes_by_type(tensors)}),
    }


def _blocks(file: Path, size: int, sampled: bool) -> Iterator[bytes]:
    """A file block by block; where it is sampled, head, tail and evenly spaced blocks between."""
    last, steps = max(0, size - _BLOCK), _SAMPLED_BLOCKS + 1
    offsets = sorted({last * i // steps for i in range(steps + 1)}) if sampled else range(0, size, _BLOCK)
    with open_regular(file) as handle:
        for offset in offsets:
            handle.seek(offset)
            yield handle.read(_BLOCK)
