"""Tokenizer and chat template of a model folder: tokens exactly as lm-eval's `hf` model makes them.

Sources, EleutherAI/lm-evaluation-harness 0.4.13: `HFLM.apply_chat_template`, `HFLM.tok_encode` and
`HFLM.tok_batch_encode` (lm_eval/models/huggingface.py), `TemplateLM._encode_pair` and
`TemplateLM.loglikelihood` (lm_eval/api/model.py). Needs transformers, not torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bitparity.errors import MissingDependencyError, ModelError
from bitparity.models.config import one_line
from bitparity.records import Message
from bitparity.schema import Protocol

Ids = tuple[int, ...]
Scored = tuple[tuple[Ids, Ids], ...] | None
"""The tokens of (context, continuation) for each log-likelihood to compute; None where an answer is written."""

# arguments of a chat template that a protocol cannot set
_OURS = {"tokenize", "add_generation_prompt", "continue_final_message", "conversation", "return_dict", "strftime_now"}

DATE = datetime(2025, 1, 1)  # today, for chat templates: with the real one each day would ask other prompts
_RENDERINGS = 8  # of a chat, before a template is believed to say the same each time

NO_SYSTEM = "the chat template takes no system message, so the benchmark's own was left out"
SYSTEM_UNSHOWN = (
    "the chat template leaves out the system message without a word, so the model never saw the benchmark's own, "
    "which may ask for the form of the answer"
)
DATED = f"the chat template prints today's date: it is given {DATE:%Y-%m-%d}, so that every day asks the same prompts"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt as the model sees it; `notes` say what the chat template did not take, or what it was given."""

    text: str
    token_ids: Ids
    scored: Scored = None
    notes: tuple[str, ...] = ()


class ModelTokenizer:
    """The tokenizer and chat template of one model folder. Raises ModelError where they cannot be loaded."""

    def __init__(self, folder: Path, trust_remote_code: bool = False) -> None:
        try:
            from transformers import AutoTokenizer
        except ImportError:
            raise MissingDependencyError("transformers", "transformers", "tokenizing prompts") from None
        self.folder = folder
        self._left_out: dict[str, list[int]] = {}  # by roles and arguments: the messages not shown
        self._dated = False
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=trust_remote_code)
        except Exception as error:  # a broken file raises nearly anything, from KeyError to Rust's own
            raise ModelError(
                f"the tokenizer in {folder} cannot be loaded: {type(error).__name__}: {one_line(error)}"
            ) from None

    def chat_text(self, messages: Sequence[Message], protocol: Protocol) -> tuple[str, tuple[str, ...]]:
        """The text of a chat, and notes on what the template did not take or was given.

        Raises ModelError where the template leaves out a message, other than a system message of the benchmark's own,
        and where it gives another text each time.
        """
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
                text = self._templated(shown, protocol)
                notes = self._notes_on_unshown(shown, text, protocol)
                return text, (*notes, *([NO_SYSTEM] if without_system else []), *([DATED] if self._dated else []))
            except TemplateError as error:
                problems.append(error)
        raise ModelError(self._template_problem(problems[0], protocol))

    def _notes_on_unshown(self, messages: Sequence[Message], text: str, protocol: Protocol) -> list[str]:
        """A note where the template leaves out the benchmark's system message.

        It does where a mark at the end of the message's text is not seen. Raises ModelError for any other message, and
        where the text is not the same each time.
        """
        # once for each sequence of roles with its arguments, and again where a text is not found as it was written
        key = repr(([m["role"] for m in messages], protocol.chat_template_args))
        if key not in self._left_out or any(m["content"].strip() not in text for m in messages):
            marks = [f"bitparity-mark-{index}." for index in range(len(messages))]
            marked = [m | {"content": f"{m['content']} {mark}"} for m, mark in zip(messages, marks, strict=True)]
            times = 1 if key in self._left_out else _RENDERINGS
            texts = {self._templated(marked, protocol) for _ in range(times)}
            if len(texts) > 1:
                raise ModelError(
                    f"the chat template in {self.folder} makes another text each time, by chance or a memory address, "
                    "so that no two variants would be asked the same: name a 'tokenizer' with another template"
                )
            self._left_out[key] = [index for index, mark in enumerate(marks) if mark not in min(texts)]
        roles = [messages[index]["role"] for index in self._left_out[key]]
        if role := next((r for r in roles if r != "system" or protocol.system), None):
            remedy = "remove 'system' from the protocol" if role == "system" else "the model would not see it"
            raise ModelError(
                f"the chat template in {self.folder} leaves out a message of the role '{role}', or its end: {remedy}, "
                "or name a 'tokenizer' whose template shows it"
            )
        return [SYSTEM_UNSHOWN] if roles else []

    def _today(self, form: str) -> str:
        """The date, as templates call for it."""
        self._dated = True
        return DATE.strftime(form)

    def _templated(self, messages: list[Message], protocol: Protocol) -> str:
        if clash := _OURS & protocol.chat_template_args.keys():
            raise ModelError(f"chat_template_args may not set {', '.join(sorted(clash))}: bitparity sets it itself")
        prefix = bool(messages) and messages[-1]["role"] == "assistant"
        date = {"strftime_now": self._today} if "strftime_now" in str(self.tokenizer.chat_template) else {}
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages,
                    tokenize=False,
                    add_generation_prompt=not prefix,
                    continue_final_message=prefix,
                    **date,
                    **protocol.chat_template_args,
                )
            )
        except (TypeError, ValueError, KeyError) as error:
            raise ModelError(self._template_problem(error, protocol)) from None

    def _template_problem(self, error: Exception, protocol: Protocol) -> str:
        hint = "; it may not take a system message: remove 'system' from the protocol" if protocol.system else ""
        return f"the chat template in {self.folder} fails: {one_line(error)}{hint}"

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

    def encode(self, text: str, continuations: Sequence[str] = (), notes: tuple[str, ...] = ()) -> Rendered:
        """Tokens of a final text, and of each continuation of it. Raises ModelError where there are none."""
        if continuations:
            scored = tuple(self._pair(text, continuation) for continuation in continuations)
            return Rendered(text, scored[0][0], scored, notes)
        ids = self._ids(text, self.tokenizer.bos_token)
        if not ids:
            raise ModelError("the prompt is empty: it has no tokens that the model could continue")
        return Rendered(text, ids, None, notes)

    def _ids(self, text: str, prefix: str | None) -> Ids:
        """Special tokens are added unless the text already starts with the one that would be."""
        added = {"add_special_tokens": False} if prefix is not None and text.startswith(prefix) else {}
        return tuple(self.tokenizer.encode(text, **added))

    def _pair(self, context: str, continuation: str) -> tuple[Ids, Ids]:
        """lm-eval's split of a context and its continuation: trailing spaces belong to the continuation."""
        tokenizer = self.tokenizer
        # the token that stands for an empty context
        prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if context == "":
            after = tuple(tokenizer.encode(continuation, add_special_tokens=False))
            if prefix is None:
                raise ModelError(f"the tokenizer in {self.folder} has neither BOS nor EOS for an empty context")
            # as lm-eval does: a continuation that begins with this token has its context already
            before, after = (after[:1], after[1:]) if after[:1] == (prefix,) else ((int(prefix),), after)
        else:
            if not context.strip():
                raise ModelError("the context is white space only; its log-likelihoods cannot be computed")
            text = None if prefix is None else str(tokenizer.decode(prefix))
            before = self._ids(context.rstrip(), text)
            # both from one text: encoded alone, a continuation could begin with other tokens
            after = self._ids(context + continuation, text)[len(before) :]
        if not before or not after:
            raise ModelError(
                f"the continuation {continuation!r} has no tokens of its own after the context; "
                "its log-likelihood cannot be computed"
            )
        return before, after

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, special ones included."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))
