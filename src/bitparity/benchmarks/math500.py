r"""MATH-500: 500 problems of the MATH test set (Lightman et al. 2023, arXiv 2305.20050).

Data set: HuggingFaceH4/MATH-500, split test; fields problem, solution, answer, subject, unique_id.
Metric: `math_verify`, the final statement against the field `answer` by Math-Verify 0.9.0, next to
`lm_eval_exact_match`, the metric of lm-eval 0.4.13's task hendrycks_math500 on the same completion.
Answer pattern: the last `\boxed{...}`, else the last "the answer is ...", else the last line.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from bitparity.benchmarks.contract import Info, Source
from bitparity.benchmarks.lm_eval_math import box_content, hendrycks_score, last_box
from bitparity.benchmarks.mathematics import MathBenchmark
from bitparity.records import Item


class Math500(MathBenchmark):
    """MATH-500."""

    source = Source(
        "HuggingFaceH4/MATH-500",
        "test",
        "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
        rows=500,
        sha256="651d247db3e823ecd76078246d992d97f261dd5d1c2c37dc776d2e5026927580",
    )
    fields: ClassVar = {"problem": (str,), "solution": (str,), "answer": (str,), "unique_id": (str,)}
    info = Info("MATH-500", 500, ("chat", "lm-eval"), "math_verify", source, question_tokens=49)
    # lm_eval/tasks/hendrycks_math/hendrycks_math_algebra.yaml, which hendrycks_math500.yaml includes
    lm_eval_prompt = "Problem: {}\nAnswer:"
    lm_eval_settings: ClassVar = {"stop": ["Problem:"], "temperature": 0.0}

    def items(self) -> Iterable[Item]:
        """The problems; the subject is the subgroup."""
        for row in self.rows(lambda row: str(row["unique_id"])):
            box = last_box(row["solution"])
            about = {"lm_eval_reference": box_content(box) if box else None}
            prompt = self.prompt(row["problem"])
            yield Item(row["unique_id"], (prompt,), row["answer"], subgroup=row.get("subject"), metadata=about)

    def lm_eval_score(self, item: Item, text: str) -> float:
        """The score of hendrycks_math500: against the box of the solution."""
        return hendrycks_score(text, item.metadata["lm_eval_reference"])


BENCHMARK = Math500
