"""Numbers by token from a transformers model's logits, and their exact divergence from the baseline's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from bitparity.engines.columns import ColumnMaker
from bitparity.engines.readings import Arrays, Columns, split_columns

_STEP_BYTES = 1 << 27  # of one array of log-probabilities: bounds memory at large vocabularies


def token_numbers(own: torch.Tensor, base: torch.Tensor | None, answer: Sequence[int], top: int) -> Arrays:
    """The arrays of `readings.py` for one answer, from logits of shape (positions, vocabulary).

    With the baseline's logits `base` the divergence is KL(baseline || own) over all tokens that both models have, in
    float64; without, log-probabilities are float32.
    """
    target = torch.tensor(answer, device=own.device)
    step = max(1, _STEP_BYTES // (8 * own.shape[-1]))
    parts = [
        _step(own[at : at + step], None if base is None else base[at : at + step], target[at : at + step], top)
        for at in range(0, len(answer), step)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def column_numbers(own: torch.Tensor, asked: Columns, answer: Sequence[int]) -> Arrays:
    """The arrays of `readings.py` for one answer with drawn or named tokens, from logits (positions, vocabulary)."""
    ids, logprobs = (each.cpu().numpy() for each in ColumnMaker(asked, own.device).make(own, 0))
    chosen = token_numbers(own, None, answer, 1)["chosen"]
    return split_columns(ids.astype(np.int32), logprobs, chosen, asked)


def _step(own: torch.Tensor, base: torch.Tensor | None, target: torch.Tensor, top: int) -> Arrays:
    if base is None:
        return _likeliest(torch.log_softmax(own, dim=-1, dtype=torch.float32), target, top)
    ours, theirs = (torch.log_softmax(logits, dim=-1, dtype=torch.float64) for logits in (base, own))
    base_arrays = {f"base_{name}": value for name, value in _likeliest(ours, target, top).items()}
    return {**_likeliest(theirs, target, top), **base_arrays, "divergence": _divergence(ours, theirs).cpu().numpy()}


def _likeliest(scores: torch.Tensor, target: torch.Tensor, top: int) -> Arrays:
    values, ids = scores.topk(min(top, scores.shape[-1]), dim=-1)
    chosen = scores.gather(1, target[:, None])[:, 0]
    return {
        "ids": ids.to(torch.int32).cpu().numpy(),
        "logprobs": values.float().cpu().numpy(),
        "chosen": chosen.float().cpu().numpy(),
    }


def _divergence(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """KL(ours || theirs) of each row; a vocabulary that one model pads further is compared as far as both reach."""
    width = min(ours.shape[-1], theirs.shape[-1])
    ours, theirs = ours[:, :width], theirs[:, :width]
    terms = torch.where(
        ours > -torch.inf, ours.exp() * (ours - theirs), 0.0
    )  # a NaN of the baseline is told by its own
    found = terms.sum(dim=-1)
    return torch.where(ours.isnan().any(dim=-1), torch.nan, found.clamp(min=0.0))
