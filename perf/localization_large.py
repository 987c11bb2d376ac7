"""Memory and time of `locate` on a model of the size of Qwen3-32B: a made-up BF16 checkpoint beside its NVFP4.

    python perf/localization_large.py /dev/shm/large --seconds 550    # 86 GB are written there first
    python perf/localization_large.py FOLDER --layers 4 --hidden 320 --vocabulary 2000 --device cpu    # seconds

Both checkpoints are Qwen3's tensors with random numbers, one file a layer; all layers hold the same numbers, so that
these are made once and written by several threads. NVFP4 is in the form of compressed-tensors. `--layers`, `--hidden`
and `--vocabulary` make a smaller model of the same proportions. The answers are random token ids.

Prints a JSON line when the checkpoints are there, and one at the end: the most memory on the device and of this
process, and for each pass its layers and seconds. After `--seconds` it stops and prints what it has; the same command
again goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from localization import NAMES, Clock, OutOfTimeError, say
from transformers import Qwen3Config

from bitparity.distance.texts import Answer
from bitparity.localization.layers import ModelPair
from bitparity.localization.locate import locate
from bitparity.localization.number_formats import LARGEST, round_numbers
from bitparity.progress.events import Event, Events, TaskProgress

Tensors = dict[str, torch.Tensor]
GROUP = 16  # numbers of NVFP4 that share a scale
INPUT_SCALE = 84.0  # NVFP4's global scale of activations up to 32
STATE_BYTES = 3.0  # times the hidden states of all answers and layers: what `locate` may store
MARGIN = 4 << 30  # bytes of memory that a process on a file system in memory needs beside its files


def config(options: argparse.Namespace) -> Qwen3Config:
    """The configuration: that of Qwen3-32B, or a smaller one of the same proportions."""
    return Qwen3Config(
        architectures=["Qwen3ForCausalLM"],
        hidden_size=options.hidden,
        intermediate_size=5 * options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=64,
        num_key_value_heads=8,
        head_dim=options.hidden // 40,
        vocab_size=options.vocabulary,
        tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        dtype="bfloat16",
    )


def linear_shapes(made: Qwen3Config) -> dict[str, tuple[int, int]]:
    """The linear modules of a layer, (out, in)."""
    width, inner = made.hidden_size, made.intermediate_size
    queries, keys = (heads * made.head_dim for heads in (made.num_attention_heads, made.num_key_value_heads))
    return {
        "self_attn.q_proj": (queries, width),
        "self_attn.k_proj": (keys, width),
        "self_attn.v_proj": (keys, width),
        "self_attn.o_proj": (width, queries),
        "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner),
    }


def quantized(name: str, weight: torch.Tensor) -> Tensors:
    """A module in NVFP4."""
    values = weight.float().unflatten(1, (-1, GROUP))
    most = LARGEST["fp8"] * LARGEST["fp4"] / values.abs().max()
    scale = round_numbers(values.abs().amax(2, keepdim=True) * (most / LARGEST["fp4"]), "fp8")
    numbers = round_numbers(values * (most / scale.clamp(min=2.0**-9)), "fp4").flatten(1)
    grid = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0], device=weight.device)
    codes = torch.bucketize(numbers.abs(), grid, out_int32=True).to(torch.uint8) | ((numbers < 0).to(torch.uint8) << 3)
    return {
        f"{name}.weight_packed": codes[:, ::2] | codes[:, 1::2] << 4,
        f"{name}.weight_scale": scale.squeeze(2).to(torch.float8_e4m3fn),
        f"{name}.weight_global_scale": most.reshape(1),
        f"{name}.input_global_scale": torch.full((1,), INPUT_SCALE),
    }


def layer(made: Qwen3Config, device: torch.device) -> tuple[Tensors, Tensors]:
    """A layer's tensors in BF16 and in NVFP4."""
    generator = torch.Generator(device).manual_seed(0)
    norms = dict.fromkeys(("input_layernorm", "post_attention_layernorm"), made.hidden_size)
    norms |= dict.fromkeys(("self_attn.q_norm", "self_attn.k_norm"), made.head_dim)
    plain = {f"{name}.weight": torch.ones(size, dtype=torch.bfloat16) for name, size in norms.items()}
    packed = dict(plain)
    for name, shape in linear_shapes(made).items():
        # products of the size of their inputs: the hidden states stay finite through all layers
        weight = torch.randn(shape, generator=generator, device=device).mul_(shape[1] ** -0.5).bfloat16()
        plain[f"{name}.weight"] = weight.cpu()
        packed |= {part: values.cpu() for part, values in quantized(name, weight).items()}
    return plain, packed


def outside(made: Qwen3Config, device: torch.device) -> Tensors:
    """The tensors outside of the layers, the same in both checkpoints."""
    generator = torch.Generator(device).manual_seed(1)
    found = {"model.norm.weight": torch.ones(made.hidden_size, dtype=torch.bfloat16)}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        values = torch.randn((made.vocab_size, made.hidden_size), generator=generator, device=device)
        # logits of a few units, so that the distributions are neither flat nor of one token
        found[name] = values.mul_(2 * made.hidden_size**-0.5).bfloat16().cpu()
    return found


class File:
    """The contents of safetensors files that differ in the names of their tensors only."""

    def __init__(self, tensors: Tensors) -> None:
        whole = memoryview(safetensors.torch.save(tensors))
        begin = 8 + int.from_bytes(whole[:8], "little")
        self._header: dict[str, Any] = json.loads(bytes(whole[8:begin]))
        self._data = whole[begin:]

    @property
    def size(self) -> int:
        """Bytes of a file, its header left out."""
        return len(self._data)

    def write(self, path: Path, prefix: str = "") -> None:
        """Write a file in which every name has the prefix."""
        header = json.dumps({prefix + name: entry for name, entry in self._header.items()}).encode()
        header += b" " * (-len(header) % 8)
        with path.open("wb", buffering=0) as out:
            for part in (memoryview(len(header).to_bytes(8, "little") + header), self._data):
                done = 0
                while done < len(part):  # one call writes 2 GiB at most
                    done += out.write(part[done:])


def declaration() -> dict[str, Any]:
    """The declaration of NVFP4 in the form of compressed-tensors."""
    numbers = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": GROUP, "symmetric": True}
    activations = numbers | {"dynamic": "local"}
    return {
        **{"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized", "ignore": ["lm_head"]},
        "config_groups": {
            "group_0": {"targets": ["Linear"], "weights": numbers, "input_activations": activations},
        },
    }


def check_space(made: Qwen3Config, folder: Path, state: int) -> None:
    """End with a message where the folder has too little room for the files, and for what is stored beside them."""
    inside = sum(rows * columns for rows, columns in linear_shapes(made).values())
    # 16 bits a number; 4, and 8 for every group
    files = int(made.num_hidden_layers * inside * (2 + 0.5 + 1 / GROUP) + 2 * 4 * made.vocab_size * made.hidden_size)
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free, where = shutil.disk_usage(there).free, "on its file system"
    if folder.is_relative_to("/dev/shm"):
        rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        available = int(rows["MemAvailable"].split()[0]) * 1024 - MARGIN
        free, where = min((free, where), (available, f"in memory, {MARGIN / 1e9:.0f} GB for the process left out"))
    if free < files + state:
        sys.exit(
            f"{folder} needs {files / 1e9:.1f} GB for the checkpoints and at most {state / 1e9:.1f} GB for hidden "
            f"states, and {free / 1e9:.1f} GB are free {where}. Name another folder, or make the model smaller with "
            "--layers"
        )


def write_pair(made: Qwen3Config, folder: Path, device: torch.device, state: int, threads: int) -> dict[str, Any]:
    """Write both checkpoints, or take those that lie there; the row that tells of it."""
    started, wanted = time.monotonic(), made.to_json_string()
    mark = folder / "complete.json"
    if mark.exists() and mark.read_text() == wanted:
        return {"what": "found"}
    shutil.rmtree(folder, ignore_errors=True)
    check_space(made, folder, state)
    folder.mkdir(parents=True)
    layers, rest = [File(tensors) for tensors in layer(made, device)], File(outside(made, device))
    sizes = [made.num_hidden_layers * each.size + rest.size for each in layers]
    generated = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        written = []
        for name, contents in zip(("bf16", "nvfp4"), layers, strict=True):
            place = folder / name
            made.save_pretrained(place)
            written.append(pool.submit(rest.write, place / "model-outside.safetensors"))
            for number in range(made.num_hidden_layers):
                path = place / f"model-{number:05d}.safetensors"
                written.append(pool.submit(contents.write, path, f"model.layers.{number}."))
        try:
            for each in written:
                each.result()
        except OutOfTimeError:
            pool.shutdown(cancel_futures=True)
            raise
    path = folder / "nvfp4" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": declaration()}))
    mark.write_text(wanted)
    seconds = {"generated": round(generated - started, 1), "written": round(time.monotonic() - generated, 1)}
    return {"what": "written", "bytes": sizes, "seconds": seconds}


def random_answers(made: Qwen3Config, options: argparse.Namespace) -> list[Answer]:
    """Answers of random tokens to prompts of random tokens."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, made.vocab_size, (options.answers, options.prompt + options.tokens)).tolist()
    cut = options.prompt
    return [Answer("made up", str(n), 0, tuple(row[:cut]), tuple(row[cut:]), "") for n, row in enumerate(rows)]


class Passes:
    """A listener that keeps the seconds of each pass, and the layers that were computed in it."""

    def __init__(self) -> None:
        self._latest: dict[str, TaskProgress] = {}
        self._rows: dict[str, dict[str, float]] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, TaskProgress):
            name = event.task.name.removeprefix(f"{NAMES.candidate}: ")
            row = self._rows.setdefault(name, {"layers": 0})
            before = self._latest.get(name)
            # steps of more than one are what an earlier call had done
            row["layers"] += before is not None and event.finished - before.finished == 1
            row["seconds"] = round(time.monotonic() - event.task.started, 2)
            row["a_layer"] = round(row["seconds"] / max(1, row["layers"]), 3)
            self._latest[name] = event

    def rows(self) -> dict[str, dict[str, float]]:
        """By pass."""
        return self._rows


class HostMemory:
    """The most memory of this process, in bytes, files that are mapped left out: looked at ten times a second."""

    def __init__(self) -> None:
        self.most = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            rows = Path("/proc/self/status").read_text().splitlines()
            own = next(int(row.split()[1]) for row in rows if row.startswith("RssAnon"))
            self.most = max(self.most, own * 1024)
            time.sleep(0.1)


def measure(made: Qwen3Config, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows of a measurement."""
    device, folder = torch.device(options.device), options.folder
    length = options.prompt + options.tokens
    state = int(STATE_BYTES * 4 * made.num_hidden_layers * options.answers * length * made.hidden_size)
    clock = Clock(device)
    yield write_pair(made, folder, device, state, options.threads) | clock.row()
    clock, passes, host = Clock(device), Passes(), HostMemory()
    end: dict[str, Any] = {"what": "out of time"}
    try:
        pair = ModelPair(folder / "bf16", folder / "nvfp4", device)
        loaded = clock.row()["seconds"]
        found = locate(NAMES, random_answers(made, options), pair, folder / "state", Events(passes))
        end = {"what": "located", "loaded": loaded, "kl": found.divergence.model_dump(), "modules": len(found.modules)}
    except OutOfTimeError:
        pass
    finally:
        signal.alarm(0)
    shape = {"layers": made.num_hidden_layers, "hidden": made.hidden_size, "vocabulary": made.vocab_size}
    asked = {"answers": options.answers, "tokens": options.answers * options.tokens, "length": length}
    torch_seen = {"device": str(device), "torch": torch.__version__}
    yield (
        end
        | clock.row()
        | {"host_gb": round(host.most / 1e9, 3)}
        | shape
        | asked
        | torch_seen
        | {"passes": passes.rows()}
    )


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    shape = (("layers", 64), ("hidden", 5120), ("vocabulary", 151936))
    asked = (("answers", 64), ("prompt", 16), ("tokens", 64), ("seconds", 0), ("threads", 8))
    for name, default in (*shape, *asked):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if options.hidden % 160:
        parser.error("--hidden must be a multiple of 160: heads of an even size, groups of 16 numbers")

    def stop(*_: object) -> None:
        raise OutOfTimeError

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(options.seconds)
    try:
        for row in measure(config(options), options):
            say(**row)
    except OutOfTimeError:
        say(what="out of time", before="the checkpoints were written", seconds=options.seconds)


if __name__ == "__main__":
    main()
