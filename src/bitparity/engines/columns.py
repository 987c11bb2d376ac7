"""Log-probabilities of likeliest, drawn and named tokens, and of all others together, from a model's logits."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bitparity.engines.readings import REST, Columns

_STEP_BYTES = 1 << 27  # of one array of log-probabilities in float64: bounds memory at large vocabularies


class ColumnMaker:
    """Makes the columns of one answer on a device; `columns` says which ones."""

    def __init__(self, columns: Columns, device: torch.device) -> None:
        self._top = columns.top
        self._points = None if columns.points is None else _moved(columns.points, device)
        self._named = None if columns.named is None else _moved(columns.named, device).long()

    def make(self, logits: torch.Tensor, first: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(ids, log-probabilities) of the positions from `first`, whose logits are given: (positions, vocabulary)."""
        step = max(1, _STEP_BYTES // (8 * logits.shape[-1]))
        starts = range(0, len(logits), step)
        parts = [self._step(logits[at : at + step], first + at) for at in starts]
        ids, logprobs = (torch.cat(each) for each in zip(*parts, strict=True))
        return ids, logprobs

    def _step(self, logits: torch.Tensor, first: int) -> tuple[torch.Tensor, torch.Tensor]:
        scores = logits.to(torch.float32, copy=True)
        scores -= scores.amax(dim=-1, keepdim=True)
        total = scores.exp().sum(dim=-1, keepdim=True).log()
        rows = slice(first, first + len(logits))
        if self._named is not None:
            named = self._named[rows]
            known = named.clamp(max=logits.shape[-1] - 1)
            best, likeliest = scores.max(dim=-1, keepdim=True)
            found = scores.gather(1, known).masked_fill(known != named, -torch.inf)
            rest = scores.scatter_(1, known[:, : self._top], -torch.inf).logsumexp(dim=-1, keepdim=True)
            ids, values = [likeliest, named], [best, found, rest]
        else:
            assert self._points is not None  # one of the two is there
            best, likeliest = scores.topk(min(self._top, logits.shape[-1]), dim=-1)
            rest = scores.scatter_(1, likeliest, -torch.inf).logsumexp(dim=-1, keepdim=True)
            drawn = _drawn(scores - rest, self._points[rows])
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
