"""The study file that `bitparity init` writes."""

from __future__ import annotations

from pathlib import Path

from bitparity.errors import UserInputError

STUDY_TEMPLATE = """\
# A study: the precision variants of one model, and the benchmarks that compare them.
#   bitparity run FILE             run it; the same command goes on after a stop
#   bitparity run FILE --limit 50  a quick look: the same fair subset for every variant
#   bitparity benchmarks           what can be listed below

study: qwen3-32b                   # also the name of the run directory: artifacts/qwen3-32b/

variants:                          # a model is a hub id (with optional `revision`) or a local folder
  bf16:  {model: Qwen/Qwen3-32B, baseline: true}
  fp8:   {model: Qwen/Qwen3-32B-FP8}
  nvfp4: {model: RedHatAI/Qwen3-32B-NVFP4}

# transformers runs anywhere, also without a GPU; vllm is the fast one: pip install 'bitparity[vllm]'
engine: {kind: vllm, max_model_len: 40960, gpu_memory_utilization: 0.95}

# Prompt style, sampling and token budgets: default, lm-eval, artificial-analysis, qwen3-thinking, qwen3-non-thinking.
profile: qwen3-thinking

# Single values can be set for all benchmarks here, or inside one benchmark's entry.
# protocol: {max_tokens: 32768}

benchmarks:
  - math500
  - mmlu_pro
  # samples: completions per item; margin: the loss, in points, that does not matter, fixed beforehand
  - {name: aime24, samples: 16, margin: 5}
  # any task of lm-eval: pip install 'bitparity[lm-eval]'
  # - lm_eval:gsm8k
  # a host without internet: rows in the data set's own schema, one JSON object a line (also .gz)
  # - {name: math500, data: path/to/math500.jsonl}
"""


def write_template(path: Path) -> None:
    """Write the template. Raises UserInputError where the file exists, or cannot be written."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(STUDY_TEMPLATE)
    except FileExistsError:
        raise UserInputError(f"{path} exists already and is left as it is; give another path") from None
    except OSError as error:
        raise UserInputError(f"{path} cannot be written: {error.strerror}") from None
