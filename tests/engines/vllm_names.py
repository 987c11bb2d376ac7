"""vLLM's names that bitparity uses, each looked up in the source of 0.25.1 and of 0.33.0, where all of them are.

Whoever uses another one looks it up in both and adds it here.
"""

from __future__ import annotations

IMPORTED = {
    "vllm": ["__version__", "envs"],
    "vllm.config": ["VllmConfig", "set_current_vllm_config"],
    "vllm.config.cache": ["CacheDType"],
    "vllm.engine.arg_utils": ["AsyncEngineArgs"],
    "vllm.inputs": ["TokensPrompt"],
    "vllm.inputs.engine": ["tokens_input"],
    "vllm.model_executor.kernels": ["linear"],
    "vllm.model_executor.layers": ["quantization"],
    "vllm.model_executor.layers.quantization.utils": ["quant_utils"],
    "vllm.model_executor.model_loader.utils": ["get_model_cls"],
    "vllm.platforms": ["current_platform"],
    "vllm.sampling_params": ["RequestOutputKind", "SamplingParams"],
    "vllm.third_party": ["pynvml"],
    "vllm.usage.usage_lib": ["UsageContext"],
    "vllm.utils.deep_gemm": ["is_deep_gemm_e8m0_used"],
    "vllm.v1.engine.async_llm": ["AsyncLLM"],
}
ENGINE_ARGUMENTS = {
    *("attention_backend", "disable_custom_all_reduce", "dtype", "enforce_eager", "generation_config"),
    *("gpu_memory_utilization", "kv_cache_dtype", "linear_backend", "max_logprobs", "max_model_len"),
    *("max_num_batched_tokens", "max_num_seqs", "model", "quantization", "tensor_parallel_size", "tokenizer"),
    *("trust_remote_code", "worker_extension_cls"),
}
SAMPLING_VALUES = {
    *(
        "detokenize",
        "extra_args",
        "flat_logprobs",
        "frequency_penalty",
        "max_tokens",
        "min_p",
        "n",
        "output_kind",
        "presence_penalty",
    ),
    *("prompt_logprobs", "repetition_penalty", "seed", "skip_special_tokens", "stop", "stop_token_ids", "temperature"),
    *("top_k", "top_p"),
}
