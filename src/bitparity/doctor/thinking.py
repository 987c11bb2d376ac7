"""Thinking: a chat template shows whether a model reasons before it answers, and what switches that off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from bitparity.grading.reasoning import ends_in_reasoning
from bitparity.models.config import read_object
from bitparity.schema import Protocol, ReasoningSpec

Thinking = Literal["on", "off", "not shown"]

# Arguments that switch thinking: Qwen3, GLM-4.5, SmolLM3, Hunyuan; DeepSeek-V3.1, Granite 3.2, Kimi-K2.5
SWITCHES = ("enable_thinking", "thinking")
_QUESTION = {"role": "user", "content": "What is 1 + 1?"}


def thinking(folder: Path, template: str, protocol: Protocol) -> Thinking:
    """The state in which a prompt of this protocol leaves the model.

    The template makes the prompt for an answer, with the study's arguments: "on" where it ends in an open reasoning,
    "off" where it ends in a closed one. Where it ends in neither, a switch of thinking tells, by which of its values
    gives the same prompt. A template that cannot be rendered is searched for these words.
    """
    tags, given = tags_of(protocol), protocol.chat_template_args
    try:
        prompt = _rendered(folder, template, protocol, given)
        if ends_in_reasoning(prompt, tags):
            return "on"
        if prompt.rstrip().endswith(tags.end):
            return "off"
        for switch in SWITCHES:
            on, off = (_rendered(folder, template, protocol, {**given, switch: value}) for value in (True, False))
            if on != off and prompt in (on, off):
                return "on" if prompt == on else "off"
    except Exception:  # no transformers here, or a template that fails: it may raise nearly anything
        return _searched(template, protocol)
    return "not shown"


def tags_of(protocol: Protocol) -> ReasoningSpec:
    """The protocol's tags, or those of nearly every model."""
    return protocol.reasoning if isinstance(protocol.reasoning, ReasoningSpec) else ReasoningSpec()


def switch_off(folder: Path, template: str, protocol: Protocol) -> str | None:
    """The argument that switches this template's thinking off when it is false; None where none does."""
    for switch in SWITCHES:
        given = {**protocol.chat_template_args, switch: False}
        if thinking(folder, template, protocol.model_copy(update={"chat_template_args": given})) == "off":
            return switch
    return None


def _rendered(folder: Path, template: str, protocol: Protocol, arguments: Mapping[str, object]) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template  # as its tokenizers render

    system = [{"role": "system", "content": protocol.system}] if protocol.system else []
    prompts, _ = render_jinja_template(
        [[*system, _QUESTION]],
        chat_template=template,
        add_generation_prompt=True,
        **{**_special_tokens(folder), **arguments},
    )
    return str(prompts[0])


def _special_tokens(folder: Path) -> dict[str, str]:
    """The tokens that templates name, bos_token and the like, from tokenizer_config.json."""
    config = read_object(folder / "tokenizer_config.json")
    names = [name for name in config.values if name.endswith("_token")]
    parts = {name: part.text("content") if (part := config.part(name)) else config.text(name) for name in names}
    return {name: text for name, text in parts.items() if text is not None}


def _searched(template: str, protocol: Protocol) -> Thinking:
    given = [value for name, value in protocol.chat_template_args.items() if name in SWITCHES and name in template]
    if given:
        return "on" if given[0] else "off"
    opens = tags_of(protocol).start in template.rpartition("add_generation_prompt")[2]
    return "on" if opens or SWITCHES[0] in template else "not shown"
