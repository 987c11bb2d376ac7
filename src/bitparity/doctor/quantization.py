"""Check of the study's `quantization`: vLLM has it, and it goes with the checkpoint.

Read in vLLM 0.32: QUANTIZATION_METHODS in `vllm/model_executor/layers/quantization/__init__.py`,
`_verify_quantization` in `vllm/config/model.py`, `get_quant_config` in
`vllm/model_executor/model_loader/weight_utils.py`.
"""

from __future__ import annotations

from bitparity.doctor.checkpoints import AT_LOAD, Checkpoint
from bitparity.doctor.findings import Finding, Topic
from bitparity.schema import Variant

_READ = ("0.32", "0.33")  # the versions whose list this is
# (methods, what a checkpoint may declare for them); those that vLLM refuses as deprecated are left out.
_FAMILIES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("awq", "auto_awq", "awq_marlin"), ("awq",)),
    (("gptq", "auto_gptq", "gptq_marlin"), ("gptq",)),
    (("moe_wna16",), ("awq", "gptq")),
    (("modelopt", "modelopt_fp4", "modelopt_mixed"), ("modelopt", "modelopt_fp4", "modelopt_mixed")),
    (("modelopt_mxfp8", "mxfp8"), ("modelopt", "modelopt_mxfp8", "mxfp8")),
    (("mxfp4", "gpt_oss_mxfp4"), ("mxfp4", "gpt_oss_mxfp4")),
    (("fp8",), ("fp8",)),
    (("deepseek_v4_fp8",), ("fp8", "deepseek_v4_fp8")),
    (("compressed-tensors",), ("compressed-tensors",)),
    (("quark",), ("quark",)),
    (("torchao",), ("torchao",)),
    (("fp8_per_tensor", "fp8_per_block", "fp8_per_channel"), ()),
    (("experts_int8", "int8_per_channel_weight_only", "nvfp4_per_token"), ()),
)
_FITS = {method: declared for methods, declared in _FAMILIES for method in methods}
_UNCHECKED = {"inc", "humming", "online"}  # they take several formats, or settings that a study cannot give
_PLAIN = {*AT_LOAD, "experts_int8", "int8_per_channel_weight_only", "nvfp4_per_token", "torchao"}
_FILES = ("quant_config.json", "quantize_config.json")  # where older AWQ and GPTQ checkpoints declare themselves


def check_quantization(name: str, variant: Variant, checkpoint: Checkpoint, version: str | None) -> Finding | None:
    """The finding on a study's `quantization`; None where nothing is wrong. `version` is vLLM's."""
    asked, topic = variant.engine.quantization, Topic(f"model {name}")
    if asked is None:
        return None
    remove = "remove 'quantization' from this variant's engine: vLLM reads what the checkpoint declares"
    if asked not in _FITS and asked not in _UNCHECKED:
        message = f"vLLM {_READ[0]} has no quantization '{asked}'"
        if version is None or version.startswith(_READ):
            return topic.error(message, f"{remove}; it has {', '.join(sorted(_FITS))}")
        return topic.warning(f"{message}, and {version} may not", remove)
    if checkpoint.folder is None or asked in _UNCHECKED:
        return None
    declared = checkpoint.quantization()
    if declared is not None:
        method = str(declared["method"]).lower().replace("compressed_tensors", "compressed-tensors")
        if method in _FITS[asked] or method == "unknown":
            return None
        return topic.error(f"the study asks for '{asked}', and the checkpoint is quantized by '{method}'", remove)
    if asked in _PLAIN or any((checkpoint.folder / name).exists() for name in _FILES):
        return None
    message = f"the study asks for '{asked}', which only loads checkpoints of that kind, and this one declares nothing"
    remedy = f"name a checkpoint of that kind, or quantize at loading: {', '.join(sorted(AT_LOAD))}"
    return topic.error(message, remedy) if checkpoint.missing == 0 else topic.warning(message, remedy)
