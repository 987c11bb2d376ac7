"""Exact KL divergence of Llama checkpoints in float64 by NumPy alone, against what `bitparity distance` has stored.

    bitparity distance study.yaml --text texts.jsonl --out RUN     # engine transformers, dtype float32, top_k: all
    python perf/distance_exact.py RUN texts.jsonl BASELINE_FOLDER CANDIDATE=FOLDER [CANDIDATE=FOLDER ...]

Nothing of bitparity or transformers is used: weights are read from the bytes of model.safetensors (BF16 or F32, tied
embeddings, not quantized), the forward pass and the divergence are written out here, and the run's files are read by
what docs/files.md says of them. Prints the largest difference at one token, and of the mean, for each candidate.
"""

from __future__ import annotations

import io
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

Array = NDArray[np.float64]


class Checkpoint:
    """The weights of one model folder, each as float64 when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        self._bytes = np.memmap(folder / "model.safetensors", dtype=np.uint8, mode="r")
        length = int(self._bytes[:8].view("<u8")[0])
        self._start, self._header = 8 + length, json.loads(self._bytes[8 : 8 + length].tobytes())

    def __getitem__(self, name: str) -> Array:
        entry = self._header[name]
        first, last = entry["data_offsets"]
        raw = self._bytes[self._start + first : self._start + last].tobytes()
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(raw, {"F32": "<f4"}[entry["dtype"]])
        return np.asarray(values.reshape(entry["shape"]), dtype=np.float64)


def normed(x: Array, weight: Array, eps: float) -> Array:
    """Root mean square normalization (B. Zhang and R. Sennrich, 2019)."""
    return np.asarray(x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * weight)


def rotated(x: Array, theta: float) -> Array:
    """Rotary positions (J. Su et al., 2021) of x, shape (tokens, heads, size), pairs half a head apart."""
    half = x.shape[-1] // 2
    angles = np.arange(len(x))[:, None] * theta ** (-np.arange(half) / half)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    one, two = x[..., :half], x[..., half:]
    return np.concatenate([one * cos - two * sin, two * cos + one * sin], axis=-1)


def attended(q: Array, k: Array, v: Array) -> Array:
    """Causal attention of one text; q, k and v of shape (tokens, heads, size)."""
    scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(q.shape[-1])
    scores[:, np.triu(np.ones(scores.shape[1:], bool), 1)] = -np.inf
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(np.einsum("hqk,khd->qhd", scores / scores.sum(axis=-1, keepdims=True), v))


def log_probabilities(model: Checkpoint, texts: Sequence[Sequence[int]]) -> list[Array]:
    """Log-probabilities of the next token after each position of each text, over the whole vocabulary."""
    c = model.config
    heads, shared, eps = c["num_attention_heads"], c["num_key_value_heads"], c["rms_norm_eps"]
    theta = c.get("rope_theta") or c["rope_parameters"]["rope_theta"]
    size = c.get("head_dim") or c["hidden_size"] // heads
    bounds = np.cumsum([0, *map(len, texts)]).tolist()
    table = model["model.embed_tokens.weight"]
    x = table[np.concatenate([np.array(text) for text in texts])]
    for layer in range(c["num_hidden_layers"]):

        def weight(name: str, at: str = f"model.layers.{layer}") -> Array:
            return model[f"{at}.{name}.weight"]

        h = normed(x, weight("input_layernorm"), eps)
        q, k, v = ((h @ weight(f"self_attn.{n}_proj").T).reshape(len(h), -1, size) for n in "qkv")
        parts = []
        for start, end in itertools.pairwise(bounds):
            one, two = rotated(q[start:end], theta), rotated(k[start:end], theta)
            repeated = (np.repeat(each, heads // shared, axis=1) for each in (two, v[start:end]))
            parts.append(attended(one, *repeated).reshape(end - start, -1))
        x = x + np.concatenate(parts) @ weight("self_attn.o_proj").T
        h = normed(x, weight("post_attention_layernorm"), eps)
        gate = h @ weight("mlp.gate_proj").T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ weight("mlp.up_proj").T)) @ weight("mlp.down_proj").T
    x = normed(x, model["model.norm.weight"], eps)
    found = []
    for start, end in itertools.pairwise(bounds):
        logits = x[start:end] @ table.T
        logits -= logits.max(axis=-1, keepdims=True)
        found.append(logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True)))
    return found


def stored(run: Path, variant: str) -> dict[int, Array]:
    """The divergences by token that a run has stored, by the number of the text."""
    place = run / "distance" / variant
    content = (place / "text.arrays").read_bytes()
    found = {}
    for line in (place / "text.jsonl").read_text().splitlines():
        row = json.loads(line)
        with np.load(io.BytesIO(content[row.get("start", 0) :][: row["size"]])) as arrays:
            found[int(row["item"])] = arrays["divergence"].astype(np.float64)
    return found


def main(run: Path, file: Path, baseline: Path, candidates: Sequence[str]) -> None:
    """Compare each candidate's divergences."""
    tokenizer = Tokenizer.from_file(str(baseline / "tokenizer.json"))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    pairs = [[tokenizer.encode(row[key], add_special_tokens=False).ids for key in ("prompt", "text")] for row in rows]
    texts = [[*prompt, *text] for prompt, text in pairs]
    ours = log_probabilities(Checkpoint(baseline), texts)
    for candidate in candidates:
        name, folder = candidate.split("=", 1)
        theirs, there = log_probabilities(Checkpoint(Path(folder)), texts), stored(run, name)
        own, said = [], []
        for number, (prompt, _) in enumerate(pairs):
            p, q = (each[number][len(prompt) - 1 : -1] for each in (ours, theirs))
            own.append((np.exp(p) * (p - q)).sum(axis=-1))
            said.append(there[number])
        one, other = np.concatenate(own), np.concatenate(said)
        print(
            f"{name}: {len(own)} texts, {len(one)} tokens; mean KL {one.mean():.9f} here, {other.mean():.9f} stored, "
            f"difference {abs(one.mean() - other.mean()):.2e}; largest at one token {np.abs(one - other).max():.2e} "
            f"(of a KL of up to {one.max():.3g})"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
