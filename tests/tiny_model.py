"""A real causal language model small enough for tests: two layers of random Llama, a byte tokenizer.

Built from code, nothing is downloaded. Token ids: five special tokens, then the 256 bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bitparity.schema import EngineSpec, Protocol, Variant

SPECIAL = ["<pad>", "<s>", "</s>", "<|end|>", "<think-end>"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'system' and refuse_system is defined %}{{ raise_exception('no system role') }}{% endif %}"
    "{{ m['role'] }}: {{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
CONTEXT = 256


def build_tokenizer(folder: Path, template: str | None = TEMPLATE) -> Path:
    """Save the tokenizer, which puts <s> first by itself."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.chat_template = template
    fast.save_pretrained(str(folder))
    return folder


def build_model(folder: Path, dtype: str = "float32", **generation: Any) -> Path:
    """Save model and tokenizer; `generation` goes into generation_config.json."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(SPECIAL) + 256,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.25,  # wide, so that answers vary
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(str(folder))
    if generation:
        (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    return build_tokenizer(folder)


def variant(model: object, kind: str = "transformers", **engine: Any) -> Variant:
    """A resolved variant with the engine values that a test sets."""
    values: dict[str, Any] = {"dtype": "auto", "batch_size": 4, "trust_remote_code": False, **engine}
    return Variant(
        model=str(model), revision=None, tokenizer=None, baseline=True, engine=EngineSpec(kind=kind, **values)
    )


def protocol(**values: Any) -> Protocol:
    """A resolved protocol: greedy chat unless the test says otherwise."""
    plain: dict[str, Any] = {
        "apply_chat_template": True,
        "chat_template_args": {},
        "system": "",
        "reasoning": "none",
        "max_tokens": 16,
        "temperature": 0.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "presence_penalty": 0.0,
        "repetition_penalty": 1.0,
        "stop": [],
        "seed": 1,
    }
    return Protocol(**{**plain, **values})
