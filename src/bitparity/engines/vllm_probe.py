"""What runs inside vLLM's own worker process and reads off the loaded model what was really chosen.

vLLM mixes this class into its worker (`worker_extension_cls`); `collective_rpc` calls the method. No
function travels between the processes, so insecure serialization stays off.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

_KERNEL_ATTRIBUTES = ("kernel", "fp8_linear", "linear_kernel")


class ModelProbe:
    """Mixed into vLLM's worker."""

    def bitparity_probe(self) -> dict[str, Any]:
        """Linear layers by method and kernel, attention backends, KV-cache types, device."""
        model = self.get_model()  # type: ignore[attr-defined]
        linear: Counter[str] = Counter()
        attention: Counter[str] = Counter()
        for module in model.modules():
            if hasattr(module, "quant_method") and hasattr(module, "input_size_per_partition"):
                linear[describe_linear(module)] += 1
            if hasattr(module, "attn_backend") and hasattr(module.attn_backend, "get_name"):
                attention[str(module.attn_backend.get_name())] += 1
        return {
            "linear_kernels": dict(sorted(linear.items())),
            "attention_backend": dict(sorted(attention.items())),
            **_device(next(model.parameters()).device),
        }


def describe_linear(module: Any) -> str:
    """Method, scheme and kernel of a linear layer, like "...W4A4Fp4 / MarlinNvFp4LinearKernel"."""
    parts = [type(module.quant_method).__name__]
    if (scheme := getattr(module, "scheme", None)) is not None:
        parts = [type(scheme).__name__]
    for holder in (scheme, module.quant_method):
        for name in _KERNEL_ATTRIBUTES:
            if (kernel := getattr(holder, name, None)) is not None:
                return " / ".join([*parts, type(kernel).__name__])
    return " / ".join(parts)


def _device(device: Any) -> dict[str, Any]:
    import torch

    if device.type != "cuda":
        return {"device": str(device), "device_name": None}
    properties = torch.cuda.get_device_properties(device)
    return {
        "device": str(device),
        "device_name": properties.name,
        "device_uuid": str(getattr(properties, "uuid", "")) or None,
        "compute_capability": f"{properties.major}.{properties.minor}",
    }
