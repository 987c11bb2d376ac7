"""Paired score arrays, checked and reduced to what the statistics need: item differences and clusters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bitparity.stats.sequential import Look

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairedScores:
    """Checked scores of two variants on the same items.

    `baseline` and `candidate` have shape (items, samples) and lie in [0, 1]. `sums` and `sizes` have one
    entry a cluster: the sum of the items' differences (candidate minus baseline) and the number of items.
    Without groups, or where every group holds one item, each item is its own cluster. `second` are the scores of the
    baseline's second run, where the mean of both runs is what the candidate is compared with. With `look` these are the
    items up to that look of several, and every interval and p-value is a repeated one.
    """

    baseline: Floats
    candidate: Floats
    cluster: NDArray[np.intp]
    sums: Floats
    sizes: Floats
    second: Floats | None = None
    look: Look | None = None

    @property
    def items(self) -> int:
        """Number of items."""
        return int(self.baseline.shape[0])

    @property
    def samples(self) -> int:
        """Number of samples an item."""
        return int(self.baseline.shape[1])

    @property
    def clustered(self) -> bool:
        """True if some cluster holds more than one item."""
        return len(self.sums) < self.items

    @property
    def binary(self) -> bool:
        """True if every sample is either wrong (0) or right (1)."""
        return all(is_binary(run) for run in (self.baseline, self.candidate, self.second) if run is not None)

    @property
    def reference(self) -> Floats:
        """Each item's mean score in the baseline, over its runs."""
        means = [run.mean(axis=1) for run in (self.baseline, self.second) if run is not None]
        return np.asarray(sum(means) / len(means))

    @property
    def difference(self) -> float:
        """Mean over items of candidate minus baseline."""
        return float(self.sums.sum() / self.items)

    @property
    def degrees(self) -> float:
        """Degrees of freedom for the variance of the difference: clusters less one, fewer where sizes are unequal."""
        d = self.candidate.mean(axis=1) - self.reference
        return effective_degrees(d - d.mean(), self.cluster)

    @property
    def unit(self) -> float | None:
        """The step that all cluster sums are multiples of; None for fractional scores."""
        runs = 1 if self.second is None else 2
        return 1 / self.samples / runs if self.binary else None

    @property
    def differing(self) -> int:
        """Clusters whose variants differ."""
        return int(np.count_nonzero(self.sums))

    @property
    def standard_error(self) -> float:
        """Cluster-robust standard error of the difference; 0 for a single cluster."""
        clusters = len(self.sums)
        residuals = self.sums - self.difference * self.sizes
        return math.sqrt(float(residuals @ residuals) * clusters / max(clusters - 1, 1)) / self.items

    def nominal(self, alpha: float) -> float:
        """`alpha` of an interval that has the level 1 - `alpha` over all looks; itself without looks."""
        return alpha if self.look is None else self.look.nominal(alpha)

    @property
    def flips(self) -> tuple[int, int]:
        """Items (lost, gained): right in one variant and not in the other, right being a mean above 1/2.

        Against the baseline's first run: half right in two runs is neither.
        """
        before, after = self.baseline.mean(axis=1) > 0.5, self.candidate.mean(axis=1) > 0.5
        return int(np.sum(before & ~after)), int(np.sum(~before & after))


def is_binary(scores: Floats) -> bool:
    """True if every score is 0 or 1."""
    return bool(np.all((scores == 0) | (scores == 1)))


def score_matrix(scores: ArrayLike, what: str = "scores") -> Floats:
    """Scores as an array of shape (items, samples). Raises ValueError unless finite, in [0, 1], not empty."""
    matrix = np.asarray(scores, dtype=np.float64)
    if matrix.ndim == 1:
        matrix = matrix[:, np.newaxis]
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"{what}: expected shape (items,) or (items, samples), got {np.shape(scores)}")
    if not np.all(np.isfinite(matrix)):
        raise ValueError(f"{what}: {int(np.sum(~np.isfinite(matrix)))} values are NaN or infinite; drop those pairs")
    if matrix.min() < 0 or matrix.max() > 1:
        raise ValueError(f"{what}: scores reach from {matrix.min()} to {matrix.max()}, outside [0, 1]")
    return matrix


def cluster_codes(groups: Sequence[str] | None, items: int) -> NDArray[np.intp]:
    """An integer for each item, equal where the groups are. Raises ValueError for a wrong number of groups."""
    if groups is None:
        return np.arange(items, dtype=np.intp)
    if len(groups) != items:
        raise ValueError(f"groups: {len(groups)} names for {items} items; give one an item")
    return np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)[1].astype(np.intp)


def effective_degrees(residuals: Floats, cluster: NDArray[np.intp]) -> float:
    """Degrees of freedom of a cluster-robust variance: clusters less one, fewer where clusters are unequal; at least 1.

    `residuals` are the items' deviations from the mean, `cluster` their clusters. A cluster of n items whose
    deviations correlate by r has the variance n (1 + r (n - 1)), and G clusters with variances a_g count as
    (sum a_g)^2 / sum a_g^2 equal ones (F. Satterthwaite, Biometrics Bulletin 2 (1946) 110-114). r is estimated
    from all pairs within clusters, as in G. Imbens and M. Kolesar, Review of Economics and Statistics 98 (2016)
    701-712.
    """
    sizes = np.bincount(cluster).astype(np.float64)
    if sizes.min() == sizes.max():
        return max(len(sizes) - 1.0, 1.0)
    square = float(residuals @ residuals)
    sums = np.bincount(cluster, weights=residuals)
    within = float(sums @ sums) - square  # twice the products of all pairs within clusters
    correlation = within / float(sizes @ (sizes - 1)) / (square / len(residuals)) if square else 0.0
    variances = sizes * (1 + min(max(correlation, 0.0), 1.0) * (sizes - 1))
    return max(float(variances.sum()) ** 2 / float(variances @ variances) - 1, 1.0)


def pair_scores(
    baseline: ArrayLike, candidate: ArrayLike, groups: Sequence[str] | None = None, second: ArrayLike | None = None
) -> PairedScores:
    """Check two paired score arrays, and those of the baseline's `second` run where there is one, and reduce them.

    The shapes are equal, (items,) or (items, samples). Raises ValueError where they are not, or a score is
    not a number in [0, 1].
    """
    before, after = score_matrix(baseline, "baseline"), score_matrix(candidate, "candidate")
    again = None if second is None else score_matrix(second, "the baseline's second run")
    if before.shape != after.shape or (again is not None and before.shape != again.shape):
        shapes = f"baseline has shape {before.shape} and candidate {after.shape}"
        raise ValueError(f"{shapes}; pair them first" if again is None else f"{shapes}, second run {again.shape}")
    cluster = cluster_codes(groups, before.shape[0])
    total = before.sum(axis=1) if again is None else (before.sum(axis=1) + again.sum(axis=1)) / 2
    d = (after.sum(axis=1) - total) / after.shape[1]
    sums, sizes = (np.asarray(np.bincount(cluster, weights=w), dtype=np.float64) for w in (d, np.ones_like(d)))
    return PairedScores(before, after, cluster, sums, sizes, again)
