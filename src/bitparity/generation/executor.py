"""Interface of executors: the devices that generate a study's answers.

`generation/local.py` uses the device of this host, `cluster/executor.py` those of a Ray cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from bitparity.generation.plan import VariantPlan
from bitparity.generation.session import Session
from bitparity.schema import Study
from bitparity.store.run import Run


class Executor(Protocol):
    """Devices that generate the answers of a study."""

    def preload(self, study: Study, run: Run) -> None:
        """Begin to load the first variant while exams are made, where that is possible."""

    def generate(self, session: Session, plans: Mapping[str, VariantPlan]) -> Iterator[str]:
        """Generate what is missing, and give the name of each variant once that is stored.

        A variant whose engine gives up is named in the outcome's failures; the others go on.
        """
