"""Numbers by token from a model's logits of shape (positions, vocabulary): what `readings.py` names.

Likeliest tokens, the exact divergence from the baseline's logits, and columns of drawn and named tokens with all others
together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from bitparity.engines.readings import REST, Arrays, Columns, split_columns

_STEP_BYTES = 1 << 27  # of one array of log-probabilities in float64: bounds memory at large vocabularies


def token_numbers(own: torch.Tensor, base: torch.Tensor | None, answer: Sequence[int], top: int) -> Arrays:
    """The arrays for one answer.

    With the baseline's logits `base` the divergence is KL(baseline || own) over all tokens that both models have, in
    float64; without, log-probabilities are float32.
    """
    target = torch.tensor(answer, device=own.device)
    parts = []
    for at in _steps(own):
        if base is None:
            parts.append(_likeliest(torch.log_softmax(own[at], dim=-1, dtype=torch.float32), target[at], top))
            continue
        ours, theirs = (torch.log_softmax(logits[at], dim=-1, dtype=torch.float64) for logits in (base, own))
        beside = {f"base_{name}": value for name, value in _likeliest(ours, target[at], top).items()}
        divergence = {"divergence": _divergence(ours, theirs).cpu().numpy()}
        parts.append(_likeliest(theirs, target[at], top) | beside | divergence)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def column_numbers(own: torch.Tensor, asked: Columns, answer: Sequence[int]) -> Arrays:
    """The arrays for one answer with drawn or named tokens."""
    ids, logprobs = (each.cpu().numpy() for each in columns(asked, own, 0))
    chosen = token_numbers(own, None, answer, 1)["chosen"]
    return split_columns(ids.astype(np.int32), logprobs, chosen, asked)


def columns(asked: Columns, logits: torch.Tensor, first: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, log-probabilities) of one answer's positions from `first` on, whose logits are given."""
    parts = [_columns(asked, logits[at], first + at.start) for at in _steps(logits)]
    ids, logprobs = (torch.cat(each) for each in zip(*parts, strict=True))
    return ids, logprobs


def _steps(logits: torch.Tensor) -> list[slice]:
    step = max(1, _STEP_BYTES // (8 * logits.shape[-1]))
    return [slice(at, at + step) for at in range(0, len(logits), step)]


def _likeliest(scores: torch.Tensor, target: torch.Tensor, top: int) -> Arrays:
    values, ids = scores.topk(min(top, scores.shape[-1]), dim=-1)
    chosen = scores.gather(1, target[:, None])[:, 0]
    told = {"ids": ids.to(torch.int32), "logprobs": values.float(), "chosen": chosen.float()}
    return {name: each.cpu().numpy() for name, each in told.items()}


def _divergence(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """KL(ours || theirs) of each row; a vocabulary that one model pads further is compared as far as both reach."""
    width = min(ours.shape[-1], theirs.shape[-1])
    ours, theirs = ours[:, :width], theirs[:, :width]
    # a NaN of the baseline is told by its own
    found = torch.where(ours > -torch.inf, ours.exp() * (ours - theirs), 0.0).sum(dim=-1)
    return torch.where(ours.isnan().any(dim=-1), torch.nan, found.clamp(min=0.0))


def _columns(asked: Columns, logits: torch.Tensor, first: int) -> tuple[torch.Tensor, torch.Tensor]:
    scores = logits.to(torch.float32, copy=True)
    scores -= scores.amax(dim=-1, keepdim=True)
    total = scores.exp().sum(dim=-1, keepdim=True).log()
    rows = slice(first, first + len(logits))
    if asked.named is not None:
        named = _moved(asked.named[rows], logits.device).long()
        known = named.clamp(max=logits.shape[-1] - 1)
        best, likeliest = scores.max(dim=-1, keepdim=True)
        found = scores.gather(1, known).masked_fill(known != named, -torch.inf)
        rest = scores.scatter_(1, known[:, : asked.top], -torch.inf).logsumexp(dim=-1, keepdim=True)
        ids, values = [likeliest, named], [best, found, rest]
    else:
        assert asked.points is not None  # one of the two is there
        best, likeliest = scores.topk(min(asked.top, logits.shape[-1]), dim=-1)
        rest = scores.scatter_(1, likeliest, -torch.inf).logsumexp(dim=-1, keepdim=True)
        drawn = _drawn(scores - rest, _moved(asked.points[rows], logits.device))
        ids, values = [likeliest, drawn], [best, scores.gather(1, drawn), rest]
    return torch.cat([*ids, torch.full_like(likeliest[:, :1], REST)], dim=1), torch.cat(values, dim=1) - total


def _drawn(logprobs: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """The tokens where the distribution function reaches `points`, so that points without a pattern draw from it."""
    reached = logprobs.exp_().cumsum(dim=-1, dtype=torch.float64)
    return torch.searchsorted(reached, points * reached[:, -1:], right=True).clamp(max=logprobs.shape[-1] - 1)


def _moved(values: NDArray[np.generic], device: torch.device) -> torch.Tensor:
    """An array on a device; the host does not wait for the device's other work."""
    found = torch.from_numpy(np.array(values))
    return found.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else found.to(device)
