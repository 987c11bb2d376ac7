"""Builder of the demo's checkpoints, run by `bitparity.demo.study` in a process of its own.

    python -m bitparity.demo.build MODEL.gguf FOLDER STAGE bf16 fp8 nvfp4

Each checkpoint is built under STAGE, a folder of the same file system, and renamed to `FOLDER/<variant>`.
Progress goes to stdout, one JSON value a line: `[what, total, unit]` begins a step, a number says that so many
more units of it are done. What the libraries print goes to stderr.

The weights of the GGUF are read by transformers, its configuration and tokenizer here: the loader of transformers
5.17.0 makes `<|im_start|>` the end of sequence and forgets that this tokenizer splits digits.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bitparity.inputs.packaged import packaged_toml

CONTROL_TOKEN = 3  # GGUF's token type of <|im_start|> and its kind
SCHEMES = {"fp8": "FP8_DYNAMIC", "nvfp4": "NVFP4"}
CALIBRATION_TOKENS = 256
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


Tell = Callable[[list[object] | int], None]
"""Tells the process that started this one of its progress: a step that begins, or units of it that are done."""


def build_bf16(gguf: Path, out: Path, tell: Tell) -> None:
    """Unpack a Llama GGUF into a plain BF16 Hugging Face checkpoint, its chat template and tokenizer with it."""
    from gguf import GGUFReader

    tell(["read the GGUF", None, ""])
    reader = GGUFReader(gguf)
    _write_json(out / "config.json", llama_config(reader))
    _write_tokenizer(reader, out)
    tell(["unpack to BF16", None, ""])
    _write_weights(gguf, out)


def _field(reader: Any, key: str) -> Any:
    return reader.fields[key].contents()


def llama_config(reader: Any) -> dict[str, Any]:
    """The `config.json` that belongs to a Llama GGUF."""
    config: dict[str, Any] = {
        name: _field(reader, value) if str(value).startswith(("llama.", "tokenizer.")) else value
        for name, value in packaged_toml("bitparity.demo", "llama.toml").items()
    }
    config["head_dim"] //= config["num_attention_heads"]
    config["rms_norm_eps"] = float(f"{config['rms_norm_eps']:.6g}")
    return config


def _write_tokenizer(reader: Any, out: Path) -> None:
    """The byte-level BPE tokenizer; llama.cpp's pre-tokenizer "smollm" is single digits, then GPT-2's pattern."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = _field(reader, "tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in _field(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    pieces = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(pieces)
    tokenizer.decoder = decoders.ByteLevel()
    types = _field(reader, "tokenizer.ggml.token_type")
    control = [token for token, kind in zip(tokens, types, strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    tokenizer.save(str(out / "tokenizer.json"))
    ids = {name: value for name, value in llama_config(reader).items() if name.endswith("_token_id")}
    special = {name.removesuffix("_id"): tokens[number] for name, number in ids.items()}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    limit = {"model_max_length": _field(reader, "llama.context_length")}
    _write_json(out / "tokenizer_config.json", settings | limit | special)
    _write_json(out / "generation_config.json", ids)
    template = _field(reader, "tokenizer.chat_template")
    (out / "chat_template.jinja").write_text(template, encoding="utf-8", newline="")


def _write_weights(gguf: Path, out: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    # the output layer is the embedding again; and the model itself refuses to save what it has read from a GGUF
    weights = {name: values for name, values in model.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})


def quantize(bf16: Path, out: Path, scheme: str, tell: Tell) -> None:
    """Quantize every linear layer but `lm_head` with llm-compressor, in the compressed-tensors format."""
    tell([f"load the model for {scheme}", None, ""])
    import torch  # after the line above: this takes seconds too
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(bf16, dtype=torch.bfloat16)
    calibration = _calibration(bf16, model, tell) if scheme == "NVFP4" else {}  # FP8_DYNAMIC needs no data
    oneshot(
        model=model, recipe=QuantizationModifier(targets="Linear", scheme=scheme, ignore=["lm_head"]), **calibration
    )
    tell([f"pack {scheme}", None, ""])
    model.save_pretrained(out, save_compressed=True)
    for name in TOKENIZER_FILES:
        shutil.copyfile(bf16 / name, out / name)


def _calibration(bf16: Path, model: Any, tell: Tell) -> dict[str, Any]:
    """Arguments of `oneshot` for the NVFP4 activations' global scales, which are minima and maxima.

    One packed sequence in one forward pass: the time goes into the passes (each calibrates all layers), and the
    global scales move by 4 % between 128 and 256 tokens, less than one step of the E4M3 scales under them.
    """
    import torch
    from torch.utils.data import DataLoader
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(bf16)
    ids = tokenizer(calibration_text(tokenizer), add_special_tokens=False)["input_ids"][:CALIBRATION_TOKENS]
    layers = model.model.layers
    tell(["calibrate NVFP4", len(layers), "layers"])
    for layer in layers:
        layer.register_forward_hook(lambda *_: tell(1))
    batch = {"input_ids": torch.tensor(ids), "attention_mask": torch.ones(len(ids), dtype=torch.long)}
    return {"dataset": DataLoader([batch]), "tokenizer": tokenizer, "pipeline": "basic"}


def calibration_text(tokenizer: Any) -> str:
    """Short chats of our own, by a fixed seed; none is an item of the benchmark `smoke`."""
    draw = random.Random("bitparity/demo/calibration")
    animals, places = ["heron", "badger", "otter"], ["the harbour", "a hill", "the old mill"]
    chats = []
    for _ in range(12):
        a, b = draw.randint(20, 99), draw.randint(1, 19)
        animal, place = draw.choice(animals), draw.choice(places)
        chats += [
            _chat(f"What is {a} minus {b}?", f"{a} minus {b} is {a - b}."),
            _chat(f"Write a sentence about a {animal}.", f"The {animal} waited near {place} until the rain stopped."),
        ]
    return "".join(tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats)


def _chat(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def build(gguf: Path, folder: Path, stage: Path, missing: list[str], tell: Tell) -> None:
    """Build the missing checkpoints, BF16 first, and rename each into place when it is complete."""
    for name in missing:
        out = stage / name
        out.mkdir()
        if name == "bf16":
            build_bf16(gguf, out, tell)
        else:
            quantize(folder / "bf16", out, SCHEMES[name], tell)
        out.rename(folder / name)


def main() -> None:
    """Build what the command line names, with everything but progress kept away from stdout."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    gguf, folder, stage, *missing = sys.argv[1:]

    def tell(value: list[object] | int) -> None:
        print(json.dumps(value), file=out, flush=True)

    build(Path(gguf), Path(folder), Path(stage), missing, tell)


if __name__ == "__main__":
    main()
