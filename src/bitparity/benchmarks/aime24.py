r"""AIME 2024: the 30 problems of both 2024 American Invitational Mathematics Examinations.

Data set: Maxwell-Jia/AIME_2024, split train; fields ID, Problem, Answer (an integer from 0 to 999).
Metric: `math_verify`, the final statement against the answer ("033" equals 33), next to
`lm_eval_exact_match`, the metric of lm-eval 0.4.13's task aime24 on the same completion.
Answer pattern: the last `\boxed{...}`, else the last "the answer is ...", else the last line.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from bitparity.benchmarks.contract import Info, Source
from bitparity.benchmarks.lm_eval_math import aime_score
from bitparity.benchmarks.mathematics import MathBenchmark
from bitparity.errors import DataError
from bitparity.records import Item


class Aime24(MathBenchmark):
    """AIME 2024."""

    source = Source(
        "Maxwell-Jia/AIME_2024",
        "train",
        "8d88b2876a82a080e2f172cc9b25d0d9d2cb4792",
        rows=30,
        sha256="9c6ca4eea24dd0db7452fe700f4899e4a2789f2317d694427ecd40761bdb0859",
    )
    fields: ClassVar = {"ID": (str,), "Problem": (str,), "Answer": (int, str)}
    info = Info("AIME 2024", 30, ("chat", "lm-eval"), "math_verify", source, aliases=("AIME 2024",), question_tokens=94)
    # lm_eval/tasks/aime/aime24.yaml
    lm_eval_prompt = "Question: {}\nAnswer:"
    lm_eval_stops: ClassVar = ["Question:", "</s>", "<|im_end|>", "<|eot_id|>"]
    lm_eval_settings: ClassVar = {"stop": lm_eval_stops, "temperature": 0.0, "max_tokens": 32768}

    def items(self) -> Iterable[Item]:
        """The problems."""
        for row in self.rows(lambda row: str(row["ID"])):
            about = {"lm_eval_reference": str(row["Answer"])}
            key = _integer(row["Answer"], row["ID"])
            yield Item(row["ID"], (self.prompt(row["Problem"]),), key, metadata=about)

    def lm_eval_score(self, item: Item, text: str) -> float:
        """The score of aime24: string equality after normalisation."""
        return aime_score(text, item.metadata["lm_eval_reference"])


def _integer(answer: int | str, name: str) -> str:
    text = str(answer).strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 3):
        raise DataError(f"AIME item {name}: the answer '{answer}' is no integer from 0 to 999; check the data file")
    return str(int(text))


BENCHMARK = Aime24
