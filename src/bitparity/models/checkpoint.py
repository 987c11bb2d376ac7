"""Folder of a checkpoint: found or downloaded, checked to be whole, and its basic facts. Nothing here imports torch."""

from __future__ import annotations

import json
import re
from pathlib import Path

from bitparity.errors import MissingDependencyError, ModelError
from bitparity.inputs.input_files import read_regular
from bitparity.models.config import one_line, read_config, read_object
from bitparity.models.hub import use_cache_where_unreachable
from bitparity.models.quantization import declared_quantization
from bitparity.models.safetensors import check_declared, check_undeclared
from bitparity.schema import Variant

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SHARD = re.compile(r"(?P<start>.*-)(?P<number>\d+)(?P<end>-of-0*(?P<of>\d{1,4})\..*)")
_LFS = b"version https://git-lfs"
# the same weights in formats that no engine here loads: gigabytes that need not be downloaded
_NOT_NEEDED = ["original/*", "onnx/*", "*.onnx", "*.gguf", "*.msgpack", "*.h5", "*.ot", "*.tflite"]
# the keys under which families of models name their longest sequence, the usual one first
_LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")


def resolve_model(variant: Variant) -> Path:
    """The folder of a variant's checkpoint; a hub id is downloaded into the hub's cache where it is not yet.

    HF_HOME, HF_TOKEN and HF_HUB_OFFLINE hold. Raises ModelError where the folder is not a whole
    checkpoint, its weights are not what it declares, or the hub does not have or give it.
    """
    folder = _folder(variant.model, variant.revision, ignore=_NOT_NEEDED)
    _refuse_adapter(folder)
    config = read_config(folder)
    check_weights(folder)
    # a study that names a quantization says itself what the files hold
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
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise MissingDependencyError("huggingface_hub", "hub", f"model {model} from the hub") from None
    why_not = use_cache_where_unreachable()
    try:
        return Path(snapshot_download(model, revision=revision, ignore_patterns=ignore))
    except LocalEntryNotFoundError:
        raise ModelError(
            f"model {model} is not in the local cache and the hub cannot be reached "
            f"({why_not or 'HF_HUB_OFFLINE is set'}); check the network, or give a local folder"
        ) from None
    except HFValidationError:
        raise ModelError(f"'{model}' is no hub id; a hub id looks like Qwen/Qwen3-32B") from None
    except HfHubHTTPError as error:
        raise ModelError(_refusal(model, revision, error)) from None
    except OSError as error:
        raise ModelError(f"model {model} could not be downloaded: {one_line(error)}") from None


def _refusal(model: str, revision: str | None, error: Exception) -> str:
    """The message for a refusal of the hub, with the remedy."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    page = f"https://huggingface.co/{model}"
    if isinstance(error, GatedRepoError):  # a kind of RepositoryNotFoundError, so it comes first
        return f"model {model} is gated: ask for access at {page}, then log in with: hf auth login (or HF_TOKEN)"
    if isinstance(error, RepositoryNotFoundError):
        return f"model {model} is not on the hub, or is private; check the name, or log in with: hf auth login"
    if isinstance(error, RevisionNotFoundError):
        return f"model {model} has no revision '{revision}'; see {page}/commits"
    return f"the hub did not give model {model}: {one_line(error)}"


def _refuse_adapter(folder: Path) -> None:
    """Raise ModelError where a folder holds an adapter, such as LoRA's, without the model that it adapts."""
    if any(folder.glob("adapter_*")) and not weight_files(folder):
        raise ModelError(
            f"model folder {folder} holds an adapter (LoRA) and no model: merge it into its base model "
            "(peft: merge_and_unload, then save_pretrained) and give the folder of the result"
        )


def check_weights(folder: Path) -> None:
    """Raise ModelError where a folder's weights are absent, not whole, or not quantized as it declares."""
    _refuse_adapter(folder)
    files = weight_files(folder)
    if not files:
        raise ModelError(f"model folder {folder} has no weights (*.safetensors); is the download or copy whole?")
    if gone := [f.name for f in files if not f.exists()]:
        raise ModelError(
            f"model folder {folder} has {len(gone)} weight files that are links to nothing, like {gone[0]}; "
            "was the hub's cache copied without its folder blobs, or is its disk not mounted?"
        )
    if pointers := [f.name for f in files if _is_pointer(f)]:
        raise ModelError(
            f"model folder {folder} has {len(pointers)} weight files that are pointers of Git LFS, like {pointers[0]}: "
            "the repository was cloned without its large files; fetch them with git lfs pull in that folder"
        )
    present = {f.name for f in files}
    # the index may be missing or lie: the numbers in the files' names tell of absent ones too
    for shards in (*(_indexed(folder / name) for name in _INDEXES), _numbered(present)):
        if shards & present and (missing := sorted(shards - present)):
            raise ModelError(
                f"model folder {folder} lacks {len(missing)} of {len(shards)} weight files, like {missing[0]}; "
                "the download or copy is not whole"
            )
    check_declared(folder, files, declared_quantization(folder))


def _is_pointer(file: Path) -> bool:
    with file.open("rb") as content:
        return content.read(len(_LFS)) == _LFS


def _numbered(present: set[str]) -> set[str]:
    """All shards of which one or more are there, by their names, like model-00001-of-00002.safetensors."""
    found = [match for name in present if (match := _SHARD.fullmatch(name))]
    # nearly all count from 1
    first = 0 if any(int(match["number"]) == 0 for match in found) else 1
    return {
        f"{match['start']}{number:0{len(match['number'])}d}{match['end']}"
        for match in found
        for number in range(first, first + int(match["of"]))
    }


def weight_files(folder: Path) -> list[Path]:
    """The files of a folder that hold weights, in name order; links to nothing are among them.

    Where there is an index, those that it names. A second copy in Mistral's own layout (consolidated.safetensors) is
    not loaded and not counted, and an adapter is none of the model's. Raises ModelError where an index cannot be read.
    """
    # safetensors first, as engines do where a folder has both
    for pattern, index in zip(_WEIGHTS, _INDEXES, strict=True):
        if found := sorted(folder.glob(pattern)):
            indexed = _indexed(folder / index)
            found = [f for f in found if not f.name.startswith("adapter_")]
            plain = [f for f in found if not f.name.startswith("consolidated")]
            if files := [f for f in found if f.name in indexed] or plain or found:
                return files
    return []


def weight_bytes(folder: Path) -> int:
    """Size in bytes of a folder's weights, as far as they are there. Raises ModelError where an index is broken."""
    return sum(f.stat().st_size for f in weight_files(folder) if f.exists())


def _indexed(path: Path) -> set[str]:
    """The files that an index names; none where it is absent."""
    index = read_object(path)
    weights = index.part("weight_map")
    if weights is None and "weight_map" in index.values:
        raise ModelError(f"{path} holds no weight_map as a JSON object; is the download or copy whole?")
    return set(map(str, weights.values.values())) if weights else set()


def context_length(folder: Path) -> int | None:
    """The longest sequence, in tokens, that the model's configuration allows; None where it names none."""
    lengths = (level.count(key) for level in read_config(folder).levels() for key in _LENGTH_KEYS)
    return next(filter(None, lengths), None)


def model_type(folder: Path) -> str | None:
    """The `model_type` of a checkpoint's configuration."""
    return read_object(folder / "config.json").text("model_type")


def chat_template(folder: Path) -> str | None:
    """The chat template, wherever the checkpoint keeps it, several as JSON; None where it has none.

    Raises ModelError where its file cannot be read.
    """
    file = folder / "chat_template.jinja"
    try:
        return read_regular(file).decode("utf-8")
    except FileNotFoundError:
        template = read_object(folder / "tokenizer_config.json").values.get("chat_template")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{file} cannot be read as text: {one_line(error)}") from None
    return template if template is None or isinstance(template, str) else json.dumps(template, sort_keys=True)
