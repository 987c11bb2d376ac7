"""Guards on the distance of the next token: a candidate that is broken, or the baseline itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bitparity.distance.figures import BROKEN_SHARE, RESOLUTION
from bitparity.distance.schema import VariantDistance
from bitparity.results.guards.facts import guard
from bitparity.results.schema import Guard

NOT_READ = "the run has not come to it yet"
ALIKE = 3.0  # times the noise floor: two second readings of the baseline itself may differ by so much


def check_distance(variants: Mapping[str, VariantDistance], noise: VariantDistance) -> Iterator[Guard]:
    """Signs that a candidate is broken, or the baseline itself."""
    for name, found in variants.items():
        if found.nan:
            yield guard("distance_nan", name, "error", found.nan, nan=found.nan)
        if found.overall is None:
            if found.reason not in (None, NOT_READ) and not found.nan:
                yield guard("distance_not_run", name, "warning", reason=found.reason)
            continue
        share, bounds = found.overall.differs.value, found.overall.differs.ci95
        if (share if bounds is None else bounds[0]) > BROKEN_SHARE:
            yield guard("distance_broken", name, "error", share, limit=f"{100 * BROKEN_SHARE:g}")
        compared, divergence = found.against_floor, found.overall.divergence.value
        floor = noise.overall.divergence.value if noise.overall else 0.0
        alike = divergence <= max(RESOLUTION, ALIKE * floor)
        if not found.nan and (alike if compared is None else not compared.farther):
            figures = {"divergence": f"{divergence:.2g}", "floor": f"{floor:.2g}", "answers": found.overall.answers}
            if alike:
                yield guard("distance_at_floor", name, "warning", divergence, **figures)
            else:
                yield guard("distance_unsure", name, "warning", divergence, **figures)
