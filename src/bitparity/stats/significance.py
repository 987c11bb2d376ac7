"""Tests of "no difference": exact McNemar for one binary sample, sign-flip permutation for anything else."""

from __future__ import annotations

import numpy as np
from scipy.special import bdtr

from bitparity.stats.arrays import Floats

_LATTICE_LIMIT = 1 << 20
_CHUNK = 1 << 18


def mcnemar_exact(lost: int, gained: int) -> float:
    """Two-sided exact McNemar p-value: flips fall either way with probability 1/2 (McNemar 1947, binomial form)."""
    flips = lost + gained
    return min(1.0, 2.0 * float(bdtr(min(lost, gained), flips, 0.5))) if flips else 1.0


def sign_flip_test(sums: Floats, unit: float | None, seed: int, resamples: int) -> float:
    """Two-sided permutation p-value of the clusters' summed differences under random signs.

    Without a difference, exchanging the two variants within a cluster changes nothing (Fisher 1935; E. Edgington,
    Randomization Tests). Where all sums are multiples of `unit` the distribution is computed exactly;
    otherwise from `resamples` draws, p = (1 + draws at least as far) / (1 + draws) (Phipson and Smyth 2010).
    """
    moved = sums[sums != 0]
    if len(moved) == 0:
        return 1.0
    if unit is not None:
        steps = np.rint(np.abs(moved) / unit).astype(np.int64)
        if 2 * int(steps.sum()) + 1 <= _LATTICE_LIMIT:
            return _exact_sign_flip(steps, abs(round(float(sums.sum()) / unit)))
    draws = sign_flip_draws(moved, np.random.default_rng(seed), resamples)
    # sums that are equal but for their rounding are equal
    observed = abs(float(moved.sum())) - 1e-9
    return float((1 + np.sum(np.abs(draws) >= observed)) / (1 + resamples))


def _exact_sign_flip(steps: np.ndarray[tuple[int], np.dtype[np.int64]], observed: int) -> float:
    """P(|sum of +-steps| >= observed), from the characteristic function prod cos(step t) by Fourier inversion."""
    total = int(steps.sum())
    length = 2 * total + 1
    angles = 2 * np.pi * np.arange(total + 1) / length
    characteristic = np.ones(total + 1)
    for step, count in zip(*np.unique(steps, return_counts=True), strict=True):
        characteristic *= np.cos(step * angles) ** count
    mass = np.clip(np.fft.irfft(characteristic, n=length), 0.0, None)
    beyond = 2 * float(mass[observed : total + 1].sum()) if observed else 1.0
    return min(1.0, max(beyond, 2.0 ** max(1 - len(steps), -1000), 1e-15))


def sign_flip_draws(values: Floats, rng: np.random.Generator, resamples: int) -> Floats:
    """`resamples` sums of `values` with random signs."""
    sizes, counts = np.unique(np.round(np.abs(values), 12), return_counts=True)  # so the order does not matter
    if len(sizes) <= 4096 and len(sizes) * 4 <= len(values):
        total = np.zeros(resamples)
        for size, count in zip(sizes, counts, strict=True):
            total += size * (2.0 * rng.binomial(count, 0.5, resamples) - count)
        return total
    rows, magnitudes = max(1, _CHUNK // len(values)), np.repeat(sizes, counts)
    parts = []
    for start in range(0, resamples, rows):
        shape = min(rows, resamples - start), -(-len(values) // 8)
        bits = np.unpackbits(rng.integers(0, 256, shape, dtype=np.uint8), axis=1)[:, : len(values)]
        parts.append(2.0 * (bits.astype(np.float64) @ magnitudes) - magnitudes.sum())
    return np.concatenate(parts)
