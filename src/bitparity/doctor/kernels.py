"""Check of the study's `quantization`, and of the kernels that vLLM will choose for each variant on this device.

The installed vLLM is asked (`vllm.py`). Where it cannot be, the kernels are those of `vllm.toml`, and other
versions may choose otherwise. The run records what was chosen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bitparity.doctor.checkpoints import Checkpoint, Loading, unknown_remedy
from bitparity.doctor.findings import Finding, Topic
from bitparity.doctor.vllm import VLLM, Capability, Installed, Kernel
from bitparity.models.quantization import PLAIN, UNQUANTIZED

_FILES = ("quant_config.json", "quantize_config.json")  # where older AWQ and GPTQ checkpoints declare themselves
_TURING, _AMPERE = (7, 5), (8, 0)
_WEIGHTS_ONLY = re.compile(r"Marlin|A16")  # in the name of a kernel's class
_ROUNDS = re.compile(r"DeepGemm", re.IGNORECASE)  # scales for blocks, from Blackwell on
_BLACKWELL = (10, 0)
_PLAIN = Kernel(since=(0, 0), kernel="plain matrix products")


def check_quantization(load: Loading) -> Finding | None:
    """The finding on a study's `quantization`; None where nothing is wrong."""
    asked, version, checkpoint = load.spec.quantization, load.version, load.checkpoint
    topic = Topic(f"model {load.name}")
    if asked is None:
        return None
    if load.installed is not None and (has := load.installed.quantizations):
        if asked not in has:
            others = ", ".join(sorted(has))
            return topic.error("no_quantization", version=load.installed.version, asked=asked, others=others)
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
        # both spellings are in use, and vLLM takes them for the same
        method = str(declared["method"]).lower().replace("compressed_tensors", "compressed-tensors")
        if method in VLLM.quantizations[asked] or method == "unknown":
            return None
        return topic.error("other_quantization", asked=asked, method=method)
    if asked in (*VLLM.at_load, *VLLM.takes_plain) or any((checkpoint.folder / name).exists() for name in _FILES):
        return None
    find = topic.error if checkpoint.missing == 0 else topic.warning  # a file still to come may declare it
    return find("nothing_declared", asked=asked, at_load=", ".join(sorted(VLLM.at_load)))


def check_kernels(load: Loading) -> Iterator[Finding]:
    """One line for each precision of a checkpoint's weights, and those on what this chip or vLLM's version lacks."""
    topic, spec, version = Topic(f"kernels of {load.name}"), load.spec, load.version
    if load.capability < _AMPERE and load.checkpoint.dtype(spec) == "bfloat16":
        # vLLM 0.32: _resolve_auto_dtype in vllm/config/model.py, supported_dtypes in vllm/platforms/cuda.py
        on = {"capability": _dotted(load.capability)}
        yield topic.error("no_bfloat16", **on) if spec.dtype == "bfloat16" else topic.warning("float16_taken", **on)
    precisions = load.precisions()
    if precisions is None:
        remedy = "the run records what is chosen" if load.checkpoint.whole else unknown_remedy(load.variant)
        yield topic.warning("precision_unknown", model=load.variant.model, remedy=remedy)
    elif spec.linear_backend is not None:
        yield topic.ok("linear_backend", precisions=" + ".join(sorted(precisions)), backend=spec.linear_backend)
    else:
        for kind in _kinds(load):
            yield _kernel(topic, kind, load)
            for fault in VLLM.faults:
                here = fault.precision == kind and fault.since <= load.capability < fault.until
                if here and version is not None and fault.has(version):
                    yield topic.error("known_fault", version=version, fault=fault.fault, remedy=fault.remedy)


def compiled_kernels(load: Loading) -> list[str]:
    """The precisions of a checkpoint whose kernels on this device are compiled at run time, with nvcc."""
    if load.spec.linear_backend is not None or _is_weight_only(load.checkpoint):
        return []
    return [f"the kernels for {kind}" for kind in _kinds(load) if (_chosen(kind, load.capability) or _PLAIN).compiled]


def _kinds(load: Loading) -> list[str]:
    """The precisions of the weights as `vllm.toml` names them."""
    in_blocks = {"FP8": "FP8 with scales for blocks"} if _has_block_scales(load) else {}
    return [in_blocks.get(precision, precision) for precision in sorted(load.precisions() or ())]


def _dotted(capability: Capability) -> str:
    return f"{capability[0]}.{capability[1]}"


def _is_weight_only(checkpoint: Checkpoint) -> bool:
    """True where the checkpoint itself means its activations to stay as they are."""
    declared = checkpoint.quantization() or {}
    if "activations" in declared:
        return set(declared["activations"]) <= {PLAIN}
    return str(declared.get("method")).lower() in ("awq", "gptq", "auto-round", "bitsandbytes", "hqq")


def _has_block_scales(load: Loading) -> bool:
    """True where FP8 weights have a scale for each block of, say, 128 x 128, as DeepSeek's and Qwen's own have."""
    declared = load.checkpoint.language_model().part("quantization_config")
    in_config = declared is not None and bool(declared.values.get("weight_block_size"))
    schemes = (load.checkpoint.quantization() or {}).get("weights", [])
    in_scheme = any(scheme.startswith("float 8 bit, block") for scheme in schemes)
    return load.spec.quantization == "fp8_per_block" or in_config or in_scheme


def _chosen(kind: str, capability: Capability) -> Kernel | None:
    """The kernel for weights of one kind; None where the table has none."""
    return next((rule for rule in reversed(VLLM.kernels.get(kind, ())) if rule.since <= capability), None)


def _told(kind: str, capability: Capability, installed: Installed) -> Kernel | None:
    """The kernel that the installed vLLM chooses here, with its remedy; None where it did not say."""
    if (name := installed.kernels.get(kind)) is None:
        return None
    table, weights_only = _chosen(kind, capability) or _PLAIN, _WEIGHTS_ONLY.search(name) is not None
    remedy = "look" if table.remedy == "look" else ""
    if weights_only:
        remedy = "old_units" if table.remedy == "old_units" else "no_units"
    elif _ROUNDS.search(name) and capability >= _BLACKWELL:
        remedy = "requantized"
    how = "; weights only, activations stay in 16 bits" if weights_only else ""
    return Kernel(since=capability, kernel=f"{name}, which vLLM {installed.version} chooses here{how}", remedy=remedy)


def _kernel(topic: Topic, kind: str, load: Loading) -> Finding:
    """The line on the kernel for weights of one kind."""
    capability, installed = load.capability, load.installed
    on = f"{kind} on compute capability {_dotted(capability)}"
    if kind == UNQUANTIZED:
        return topic.ok("kernel", on=on, kernel=_PLAIN.kernel)
    if capability < _TURING:
        return topic.error("no_kernel", on=on)
    chosen = (installed and _told(kind, capability, installed)) or _chosen(kind, capability)
    if chosen is None or _is_weight_only(load.checkpoint):
        kernel = "Machete or Marlin" if capability[0] == 9 and kind in ("INT4", "INT8") else "Marlin"
        return topic.ok("kernel", on=on, kernel=f"{kernel}, weights only, as the checkpoint means it")
    find = topic.warning if chosen.remedy else topic.ok
    return find("kernel", on=on, kernel=chosen.kernel, remedy=chosen.remedy and VLLM.remedies[chosen.remedy])
