"""Tokenizer and chat template of a model folder: tokens exactly as lm-eval's `hf` model makes them.

Sources, EleutherAI/lm-evaluation-harness 0.4.13: `HFLM.apply_chat_template`, `HFLM.tok_encode` and
`HFLM.tok_batch_encode` (lm_eval/models/huggingface.py), `TemplateLM._encode_pair` and
`TemplateLM.loglikelihood` (lm_eval/api/model.py). Needs transformers, not torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitparity.errors import MissingDependencyError, ModelError
from bitparity.records import Message
from bitparity.schema import Protocol

Ids = tuple[int, ...]
Scored = tuple[tuple[Ids, Ids], ...] | None
"""The tokens of (context, continuation) for each log-likelihood to compute; None where an answer is written."""

_SET_BY_US = {"tokenize", "add_generation_prompt", "continue_final_message", "conversation", "return_dict"}


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt as the model sees it.

    `system_dropped` tells that the chat template refuses a system message, so that the prompt's
    own was left out, as lm-eval does.
    """

    text: str
    token_ids: Ids
    scored: Scored = None
    system_dropped: bool = False


class ModelTokenizer:
    """The tokenizer and chat template of one model folder. Raises ModelError where they cannot be loaded."""

    def __init__(self, folder: Path, trust_remote_code: bool = False) -> None:
        try:
            from transformers import AutoTokenizer
        except ImportError:
            raise MissingDependencyError("transformers", "transformers", "tokenizing prompts") from None
        self.folder = folder
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=trust_remote_code)
        except Exception as error:  # a broken file raises nearly anything, from KeyError to Rust's own
            raise ModelError(
                f"the tokenizer in {folder} cannot be loaded: {type(error).__name__}: "
                f"{' '.join(str(error).split())[:300]}"
            ) from None

    def chat_text(self, messages: Sequence[Message], protocol: Protocol) -> tuple[str, bool]:
        """The text of a chat, and True where its own system message had to be left out. Raises ModelError."""
        if not self.tokenizer.chat_template:
            raise ModelError(
                f"the model in {self.folder} has no chat template; a base model needs "
                "apply_chat_template: false and plain-text prompts, a chat model a tokenizer with a template"
            )
        from jinja2.exceptions import TemplateError

        # Some templates refuse a system message: one that is the benchmark's own is then left out, as lm-eval does.
        problems: list[TemplateError] = []
        for without_system in (False,) if protocol.system else (False, True):
            shown = [m for m in messages if not (without_system and m["role"] == "system")]
            try:
                return self._templated(shown, protocol), without_system
            except TemplateError as error:
                problems.append(error)
        raise ModelError(self._template_problem(problems[0], protocol))

    def _templated(self, messages: list[Message], protocol: Protocol) -> str:
        if clash := _SET_BY_US & protocol.chat_template_args.keys():
            raise ModelError(f"chat_template_args may not set {', '.join(sorted(clash))}: bitparity sets it itself")
        prefix = bool(messages) and messages[-1]["role"] == "assistant"
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages,
                    tokenize=False,
                    add_generation_prompt=not prefix,
                    continue_final_message=prefix,
                    **protocol.chat_template_args,
                )
            )
        except (TypeError, ValueError, KeyError) as error:
            raise ModelError(self._template_problem(error, protocol)) from None

    def _template_problem(self, error: Exception, protocol: Protocol) -> str:
        hint = "; it may not take a system message: remove 'system' from the protocol" if protocol.system else ""
        return f"the chat template in {self.folder} fails: {' '.join(str(error).split())[:300]}{hint}"

    def unused_template_args(self, protocol: Protocol) -> list[str]:
        """The chat_template_args that the template never looks at: setting them changes nothing."""
        from jinja2 import Environment, TemplateError, meta

        template = self.tokenizer.chat_template
        if not isinstance(template, str):
            return []
        try:  # the extensions that transformers gives its templates
            environment = Environment(extensions=["jinja2.ext.loopcontrols"])
            known = meta.find_undeclared_variables(environment.parse(template))
        except TemplateError:
            return []
        return sorted(name for name in protocol.chat_template_args if name not in known)

    def encode(self, text: str, continuations: Sequence[str] = (), system_dropped: bool = False) -> Rendered:
        """Tokens of a final text, and of each continuation of it. Raises ModelError where there are none."""
        if continuations:
            scored = tuple(self._pair(text, continuation) for continuation in continuations)
            return Rendered(text, scored[0][0], scored, system_dropped)
        ids = self._ids(text, self.tokenizer.bos_token)
        if not ids:
            raise ModelError("the prompt is empty: it has no tokens that the model could continue")
        return Rendered(text, ids, None, system_dropped)

    def _ids(self, text: str, prefix: str | None) -> Ids:
        """Special tokens are added unless the text already starts with the one that would be."""
        added = {"add_special_tokens": False} if prefix is not None and text.startswith(prefix) else {}
        return tuple(self.tokenizer.encode(text, **added))

    def _prefix_id(self) -> int | None:
        """The token that stands for an empty context: BOS, else EOS."""
        tokenizer = self.tokenizer
        found = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        return None if found is None else int(found)

    def _pair(self, context: str, continuation: str) -> tuple[Ids, Ids]:
        """lm-eval's split of a context and its continuation: trailing spaces belong to the continuation."""
        pair = self._pair_without_context(continuation) if context == "" else self._split(context, continuation)
        if not pair[0] or not pair[1]:
            raise ModelError(
                f"the continuation {continuation!r} has no tokens of its own after the context; "
                "its log-likelihood cannot be computed"
            )
        return pair

    def _split(self, context: str, continuation: str) -> tuple[Ids, Ids]:
        prefix_id = self._prefix_id()
        prefix = None if prefix_id is None else str(self.tokenizer.decode(prefix_id))
        head = context.rstrip()
        if not head:
            raise ModelError("the context is white space only; its log-likelihoods cannot be computed")
        whole = self._ids(context + continuation, prefix)
        encoded = self._ids(head, prefix)
        return encoded, whole[len(encoded) :]

    def _pair_without_context(self, continuation: str) -> tuple[Ids, Ids]:
        ids = tuple(self.tokenizer.encode(continuation, add_special_tokens=False))
        prefix = self._prefix_id()
        if prefix is None:
            raise ModelError(f"the tokenizer in {self.folder} has neither BOS nor EOS for an empty context")
        return (ids[:1], ids[1:]) if ids[:1] == (prefix,) else ((prefix,), ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, special ones included."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))
