"""Checkpoints on disk: where a variant's model is, and what it is. Nothing here imports torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bitparity.errors import MissingDependencyError, ModelError
from bitparity.models.safetensors import bytes_by_type, check_declared, check_undeclared, read_tensors
from bitparity.schema import Variant

FULL_HASH_BYTES = 2 << 30  # weights up to this size are hashed whole


_BLOCK = 1 << 20


_SAMPLED_BLOCKS = 64  # a file of larger weights: head, tail and this many blocks between, evenly spaced


_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)


_NOT_NEEDED = ["original/*", "onnx/*", "*.onnx", "*.gguf", "*.msgpack", "*.h5", "*.ot", "*.tflite"]


_LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")


def resolve_model(variant: Variant) -> Path:
    """The folder of a variant's checkpoint; a hub id is downloaded into the hub's cache where it is not yet.

    HF_HOME, HF_TOKEN and HF_HUB_OFFLINE hold. Raises ModelError where the folder is not a whole
    checkpoint, its weights are not what it declares, or the hub does not have or give it.
    """
    folder = _folder(variant.model, variant.revision, ignore=_NOT_NEEDED)
    config = _read_json(folder / "config.json", needed=True)
    check_weights(folder)
    if variant.engine.quantization is None:
        check_undeclared(folder, weight_files(folder), config)
    return folder


def resolve_tokenizer(variant: Variant) -> Path:
    """The folder that holds a variant's tokenizer: its own where the study names one, else the model's."""
    if variant.tokenizer is None:
        return resolve_model(variant)
    return _folder(variant.tokenizer, None, ignore=[*_NOT_NEEDED, *_WEIGHTS])


def _folder(model: str, revision: str | None, ignore: list[str]) -> Path:
    place = Path(model)
    if place.is_dir():
        return place
    if place.exists():
        raise ModelError(f"model {model} is a file; give the folder that holds its config.json")
    if place.is_absolute() or model.count("/") != 1:
        raise ModelError(f"model folder {model} does not exist; give an existing folder or a hub id")
    return _download(model, revision, ignore)


def _download(model: str, revision: str | None, ignore: list[str]) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise MissingDependencyError("huggingface_hub", "hub", f"model {model} from the hub") from None
    try:
        return Path(snapshot_download(model, revision=revision, ignore_patterns=ignore))
    except LocalEntryNotFoundError:
        raise ModelError(
            f"model {model} is not in the local cache and the hub cannot be reached; "
            "unset HF_HUB_OFFLINE, check the network, or give a local folder"
        ) from None
    except HFValidationError:
        raise ModelError(f"'{model}' is no hub id; a hub id looks like Qwen/Qwen3-32B") from None
    except HfHubHTTPError as error:
        raise ModelError(_refusal(model, revision, error)) from None
    except OSError as error:
        raise ModelError(f"model {model} could not be downloaded: {_one_line(error)}") from None


def _refusal(model: str, revision: str | None, error: Exception) -> str:
    """What the hub's refusal means and what to do."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    page = f"https://huggingface.co/{model}"
    if isinstance(error, GatedRepoError):  # a kind of RepositoryNotFoundError, so it comes first
        return f"model {model} is gated: ask for access at {page}, then log in with: hf auth login (or HF_TOKEN)"
    if isinstance(error, RepositoryNotFoundError):
        return f"model {model} is not on the hub, or is private; check the name, or log in with: hf auth login"
    if isinstance(error, RevisionNotFoundError):
        return f"model {model} has no revision '{revision}'; see {page}/commits"
    return f"the hub did not give model {model}: {_one_line(error)}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def check_weights(folder: Path) -> None:
    """Raise ModelError where a folder's weights are absent, not whole, or not quantized as it declares."""
    files = weight_files(folder)
    if not files:
        raise ModelError(f"model folder {folder} has no weights (*.safetensors); is the download or copy whole?")
    if gone := [f.name for f in files if not f.exists()]:
        raise ModelError(
            f"model folder {folder} has {len(gone)} weight files that are links to nothing, like {gone[0]}; "
            "was the hub's cache copied without its folder blobs, or is its disk not mounted?"
        )
    present = {f.name for f in files}
    for name in _INDEXES:
        shards = _indexed(folder / name)
        if shards & present and (missing := sorted(shards - present)):
            raise ModelError(
                f"model folder {folder} lacks {len(missing)} of {len(shards)} weight files, like {missing[0]}; "
                "the download or copy is not whole"
            )
    check_declared(folder, files, declared_quantization(folder))


def weight_files(folder: Path) -> list[Path]:
    """The files of a folder that hold weights, in name order; links to nothing are among them.

    Where there is an index, those that it names. A second copy in Mistral's own layout (consolidated.safetensors) is
    not loaded and not counted. Raises ModelError where an index cannot be read.
    """
    for pattern, index in zip(_WEIGHTS, _INDEXES, strict=True):
        if found := sorted(folder.glob(pattern)):
            indexed = _indexed(folder / index)
            plain = [f for f in found if not f.name.startswith("consolidated")]
            return [f for f in found if f.name in indexed] or plain or found
    return []


def weight_bytes(folder: Path) -> int:
    """The size in bytes of those weights of a folder that are there. Raises ModelError where an index is broken."""
    return sum(f.stat().st_size for f in weight_files(folder) if f.exists())


def _indexed(path: Path) -> set[str]:
    """The files that an index names; none where it is absent."""
    weights = _read_json(path).get("weight_map", {})
    if not isinstance(weights, dict):
        raise ModelError(f"{path} holds no weight_map as a JSON object; is the download or copy whole?")
    return set(map(str, weights.values()))


def _read_json(path: Path, needed: bool = False) -> dict[str, Any]:
    """A JSON object of a checkpoint; {} where an optional one is absent."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if needed:
            raise ModelError(f"model folder {path.parent} has no {path.name}; is it a model's folder?") from None
        return {}
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {_one_line(error)}") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds no JSON object")
    return value


def context_length(folder: Path) -> int | None:
    """The longest sequence, in tokens, that the model's configuration allows; None where it names none."""
    for part in _configs(folder):
        for key in _LENGTH_KEYS:
            if isinstance(part.get(key), int):
                return int(part[key])
    return None


def _configs(folder: Path) -> list[dict[str, Any]]:
    """The model's configuration, and that of its language model where it is a part of its own."""
    config = _read_json(folder / "config.json", needed=True)
    text = config.get("text_config")
    return [config, text] if isinstance(text, dict) else [config]


def model_type(folder: Path) -> str | None:
    """The `model_type` of a checkpoint's configuration."""
    found = _read_json(folder / "config.json").get("model_type")
    return None if found is None else str(found)


def identity(folder: Path, tokenizer: Path | None = None, *, code: bool = False) -> dict[str, Any]:
    """What the checkpoint is, as JSON values: hashes (SHA-256), declared quantization, length, hub commit.

    Weights up to 2 GiB are hashed whole (`sha256` over each file's name, size and content, and
    `sha256_by_file`); larger ones by sizes, heads, tails and evenly spaced blocks only (`sampled_sha256`),
    which tells checkpoints apart but does not prove every byte. `tokenizer` is the folder of another tokenizer
    than the model's own; with `code` the folder's Python files are hashed too, since they are run.
    """
    config = _read_json(folder / "config.json", needed=True)
    return {
        "path": str(folder),
        "revision": _hub_commit(folder),
        "architecture": (config.get("architectures") or [None])[0],
        "weights": _weights_identity(weight_files(folder)),
        "config_sha256": _file_hash(folder / "config.json"),
        "generation_config_sha256": _file_hash(folder / "generation_config.json"),
        **(tokenizer_identity(folder) if tokenizer is None else other_tokenizer(tokenizer)),
        **({"code_sha256": _code_hashes(folder)} if code else {}),
        "quantization": declared_quantization(folder),
        "context_length": context_length(folder),
    }


def identity_of(variant: Variant, folder: Path) -> dict[str, Any]:
    """The identity of a variant's checkpoint in a folder, with the tokenizer that the study names for it."""
    tokenizer = None if variant.tokenizer is None else resolve_tokenizer(variant)
    return identity(folder, tokenizer, code=variant.engine.trust_remote_code)


def tokenizer_identity(folder: Path) -> dict[str, Any]:
    """What a folder's tokenizer and chat template are: hashes (SHA-256)."""
    return {
        "tokenizer_sha256": {n: _file_hash(folder / n) for n in _TOKENIZER_FILES if (folder / n).exists()},
        "chat_template_sha256": chat_template_hash(folder),
    }


def other_tokenizer(folder: Path) -> dict[str, Any]:
    """What a tokenizer is that is not the model's own, and where it lies."""
    return {"tokenizer": {"path": str(folder), "revision": _hub_commit(folder)}, **tokenizer_identity(folder)}


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What differs between two identities, as far as both tell it; where the files lie does not count.

    A folder outside the hub's cache does not tell its commit.
    Of a variant with a tokenizer of its own, runs of earlier versions noted the one in the model's folder, and not
    where it lay: those hashes say nothing about the tokenizer that was used.
    """
    ignored = {"path", "named", "tokenizer"}
    if None in (one.get("revision"), other.get("revision")):
        ignored.add("revision")
    if "weights" in one and ("tokenizer" in one) != ("tokenizer" in other):
        ignored |= {"tokenizer_sha256", "chat_template_sha256"}
    return sorted(key for key in (one.keys() & other.keys()) - ignored if _differs(key, one[key], other[key]))


def _differs(key: str, one: Any, other: Any) -> bool:
    if key == "weights" and isinstance(one, Mapping) and isinstance(other, Mapping):
        return any(one[part] != other[part] for part in one.keys() & other.keys())
    return bool(one != other)


def _code_hashes(folder: Path) -> dict[str, str | None]:
    return {path.relative_to(folder).as_posix(): _file_hash(path) for path in sorted(folder.rglob("*.py"))}


def _hub_commit(folder: Path) -> str | None:
    """The commit of a folder inside the hub's cache, models--<org>--<name>/snapshots/<commit>."""
    inside = folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--")
    return folder.name if inside else None


def _file_hash(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def chat_template_hash(folder: Path) -> str | None:
    """SHA-256 of the chat template's text, wherever the checkpoint keeps it; None where it has none."""
    text = chat_template(folder)
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()


def chat_template(folder: Path) -> str | None:
    """The chat template, wherever the checkpoint keeps it, several as JSON; None where it has none.

    Raises ModelError where its file cannot be read.
    """
    file = folder / "chat_template.jinja"
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        template = _read_json(folder / "tokenizer_config.json").get("chat_template")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{file} cannot be read as text: {_one_line(error)}") from None
    return template if template is None or isinstance(template, str) else json.dumps(template, sort_keys=True)


def _weights_identity(files: list[Path]) -> dict[str, Any]:
    total = sum(f.stat().st_size for f in files)
    sampled = total > FULL_HASH_BYTES
    digest = hashlib.sha256()
    by_file: dict[str, str] = {}
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        own = hashlib.sha256()
        for block in _blocks(file, _offsets(size) if sampled else range(0, size, _BLOCK)):
            digest.update(block)
            if not sampled:
                own.update(block)
        by_file[file.name] = own.hexdigest()
    found: dict[str, Any] = {"files": len(files), "bytes": total}
    found["sampled_sha256" if sampled else "sha256"] = digest.hexdigest()
    if not sampled:
        found["sha256_by_file"] = by_file
    if (tensors := read_tensors(files)) is not None:
        found["bytes_by_type"] = bytes_by_type(tensors)
    return found


def _offsets(size: int) -> list[int]:
    """Head, tail and evenly spaced blocks between."""
    last = max(0, size - _BLOCK)
    steps = _SAMPLED_BLOCKS + 1
    return sorted({last * i // steps for i in range(steps + 1)})


def _blocks(file: Path, offsets: Iterable[int]) -> Iterator[bytes]:
    with file.open("rb") as handle:
        for offset in offsets:
            handle.seek(offset, os.SEEK_SET)
            yield handle.read(_BLOCK)


def declared_quantization(folder: Path) -> dict[str, Any] | None:
    """How the checkpoint says that it is quantized, summarised; None where it says nothing.

    Read from config.json (`quantization_config`, or `compression_config` of older checkpoints) and from
    ModelOpt's hf_quant_config.json. Raises ModelError where that cannot be read.
    """
    for part in _configs(folder):
        declared = part.get("quantization_config") or part.get("compression_config")
        if declared:
            return _summary(_an_object(declared, folder / "config.json", "quantization_config"))
    modelopt = _read_json(folder / "hf_quant_config.json").get("quantization")
    if not modelopt:
        return None
    return {"method": "modelopt", **_plain(_an_object(modelopt, folder / "hf_quant_config.json", "quantization"))}


def _an_object(value: Any, path: Path, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ModelError(f"{path}: {key} is no JSON object; the file is broken, or was edited by hand")
    return value


def _summary(declared: dict[str, Any]) -> dict[str, Any]:
    summary = {"method": declared.get("quant_method", "unknown"), **_plain(declared)}
    summary.pop("quant_method", None)
    groups = declared.get("config_groups")
    if isinstance(groups, dict):
        schemes = [g for g in groups.values() if isinstance(g, dict)]
        summary["weights"] = sorted({_scheme(g.get("weights")) for g in schemes})
        summary["activations"] = sorted({_scheme(g.get("input_activations")) for g in schemes})
    if isinstance(declared.get("ignore"), list):
        summary["ignored_modules"] = len(declared["ignore"])
    if declared.get("kv_cache_scheme"):
        summary["kv_cache"] = _scheme(declared["kv_cache_scheme"])
    return summary


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """The scalar values, which is what one line of a report can hold."""
    return {k: v for k, v in values.items() if isinstance(v, str | int | float | bool)}


def _scheme(args: Any) -> str:
    """A compressed-tensors scheme in words, like "float 4 bit, tensor_group 16, dynamic"."""
    if not isinstance(args, dict):
        return "not quantized"
    words = [f"{args.get('type', 'int')} {args.get('num_bits', '?')} bit"]
    strategy, size = args.get("strategy"), args.get("group_size")
    if strategy:
        words.append(f"{strategy} {size}" if size else str(strategy))
    if args.get("dynamic"):
        words.append("dynamic" if args["dynamic"] is True else f"dynamic {args['dynamic']}")
    return ", ".join(words)
