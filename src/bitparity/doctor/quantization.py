"""Check of the study's `quantization`: vLLM has it, and it goes with the checkpoint.

Read in vLLM 0.32: `_verify_quantization` in `vllm/config/model.py`, `get_quant_config` in
`vllm/model_executor/model_loader/weight_utils.py`; the methods are those of `vllm.toml`.
"""

from __future__ import annotations

from bitparity.doctor.checkpoints import Checkpoint
from bitparity.doctor.findings import Finding, Topic
from bitparity.doctor.vllm import VLLM
from bitparity.doctor.vllm_inquiry import Installed
from bitparity.schema import Variant

_FILES = ("quant_config.json", "quantize_config.json")  # where older AWQ and GPTQ checkpoints declare themselves


def check_quantization(
    name: str, variant: Variant, checkpoint: Checkpoint, version: str | None, installed: Installed | None = None
) -> Finding | None:
    """The finding on a study's `quantization`; None where nothing is wrong. `version` is vLLM's.

    `installed` is what the installed vLLM answered.
    """
    asked, topic = variant.engine.quantization, Topic(f"model {name}")
    if asked is None:
        return None
    if installed is not None and (has := installed.quantizations):
        if asked not in has:
            return topic.error("no_quantization", version=installed.version, asked=asked, others=", ".join(sorted(has)))
        if asked not in VLLM.quantizations:
            return None  # a newer one: what it takes is not known here
    if asked not in VLLM.quantizations and asked not in VLLM.unchecked_quantizations:
        read_in, others = VLLM.read_in[0], ", ".join(sorted(VLLM.quantizations))
        if version is None or version.startswith(VLLM.read_in):
            return topic.error("no_quantization", version=read_in, asked=asked, others=others)
        return topic.warning("perhaps_no_quantization", version=read_in, asked=asked, installed=version)
    if checkpoint.folder is None or asked in VLLM.unchecked_quantizations:
        return None
    declared = checkpoint.quantization()
    if declared is not None:
        method = str(declared["method"]).lower().replace("compressed_tensors", "compressed-tensors")
        if method in VLLM.quantizations[asked] or method == "unknown":
            return None
        return topic.error("other_quantization", asked=asked, method=method)
    if asked in (*VLLM.at_load, *VLLM.takes_plain) or any((checkpoint.folder / name).exists() for name in _FILES):
        return None
    find = topic.error if checkpoint.missing == 0 else topic.warning  # a file still to come may declare it
    return find("nothing_declared", asked=asked, at_load=", ".join(sorted(VLLM.at_load)))
