"""Rendering of prompts to the tokens that an engine is given, exactly as lm-eval's `hf` model does it.

Sources, EleutherAI/lm-evaluation-harness 0.4.13: `HFLM.apply_chat_template`, `HFLM.tok_encode` and
`HFLM.tok_batch_encode` (lm_eval/models/huggingface.py), `TemplateLM._encode_pair` and
`TemplateLM.loglikelihood` (lm_eval/api/model.py). Needs transformers, not torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitparity.errors import MissingDependencyError, ModelError
from bitparity.records import Message, Prompt, Unrendered
from bitparity.schema import Protocol, ReasoningSpec

Ids = tuple[int, ...]
Scored = tuple[tuple[Ids, Ids], ...] | None
"""The tokens of (context, continuation) for each log-likelihood to compute; None where an answer is written."""


_NO_SYSTEM = (
    "the protocol has a system message, but this benchmark's prompt is plain text; "
    "remove 'system' or use the benchmark's chat form"
)


_NO_TEMPLATE = (
    "the prompt is a chat and apply_chat_template is false; set it to true, or use a benchmark form with plain text"
)


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


class Renderer:
    """The tokenizer and chat template of one model folder."""

    def __init__(self, folder: Path, trust_remote_code: bool = False) -> None:
        try:
            from transformers import AutoTokenizer
        except ImportError:
            raise MissingDependencyError("transformers", "transformers", "tokenizing prompts") from None
        self.folder = folder
        self._known: dict[int, tuple[Prompt, Protocol, Rendered]] = {}  # by the prompt object, which is kept alive
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=trust_remote_code)
        except Exception as error:  # a broken file raises nearly anything, from KeyError to Rust's own
            raise ModelError(
                f"the tokenizer in {folder} cannot be loaded: {type(error).__name__}: "
                f"{' '.join(str(error).split())[:300]}"
            ) from None

    def render(self, prompt: Prompt, protocol: Protocol) -> Rendered:
        """The final text and its tokens. Raises ModelError where the chat template cannot make it."""
        text, dropped = self.text(prompt, protocol)
        return self.encode(text, prompt.continuations, dropped)

    def render_once(self, prompt: Prompt, protocol: Protocol) -> Rendered:
        """As `render`, made once for an exam's prompt: variants that share this tokenizer share the tokens too."""
        known = self._known.get(id(prompt))
        if known is None or known[0] is not prompt or known[1] != protocol:
            known = (prompt, protocol, self.render(prompt, protocol))
            self._known[id(prompt)] = known
        return known[2]

    def text(self, prompt: Prompt, protocol: Protocol) -> tuple[str, bool]:
        """The final text, and True where the prompt's own system message had to be left out."""
        given = _with_protocol(prompt, protocol)
        return (given, False) if isinstance(given, str) else self._chat(given, protocol)

    def _chat(self, messages: list[Message], protocol: Protocol) -> tuple[str, bool]:
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


def unrendered(prompt: Prompt, protocol: Protocol) -> Unrendered:
    """The prompt as a server is asked it, which applies its own chat template and tokenizer.

    Raises ModelError where the protocol asks for what only a tokenizer of ours could do.
    """
    given = _with_protocol(prompt, protocol)
    if isinstance(given, str):
        return Unrendered(None, given)
    reasoning = protocol.reasoning
    start = {"reasoning_start": reasoning.start} if isinstance(reasoning, ReasoningSpec) else {}
    return Unrendered(tuple(given), None, protocol.chat_template_args, **start)


def _with_protocol(prompt: Prompt, protocol: Protocol) -> str | list[Message]:
    """The prompt's text, or its messages with the protocol's system message. Raises ModelError where they clash."""
    if prompt.text is not None:
        if protocol.system:
            raise ModelError(_NO_SYSTEM)
        return prompt.text
    if not protocol.apply_chat_template:
        raise ModelError(_NO_TEMPLATE)
    return _with_system(prompt.messages or (), protocol.system)


def _with_system(messages: Sequence[Message], system: str) -> list[Message]:
    """The protocol's system message first, joined to the prompt's own by a blank line as in lm-eval."""
    given = [dict(m) for m in messages]
    if not system:
        return given
    if given and given[0]["role"] == "system":
        given[0]["content"] = f"{system}\n\n{given[0]['content']}"
        return given
    return [{"role": "system", "content": system}, *given]


Decode = Callable[[Sequence[int]], str]


def difference(
    a: Rendered,
    b: Rendered,
    names: tuple[str, str] = ("baseline", "candidate"),
    decode: tuple[Decode, Decode] | None = None,
) -> str | None:
    """The first place where two renderings of one prompt differ, in one line; None where they are equal.

    `decode` turns token ids of either side into text.
    """
    if a.text != b.text:
        at = _first_difference(a.text, b.text)
        shown = [_excerpt(side.text, at) for side in (a, b)]
        return f"the text differs at character {at}: {names[0]} has {shown[0]}, {names[1]} has {shown[1]}"
    for (label, one), (_, other) in zip(_token_lists(a), _token_lists(b), strict=False):
        if one != other:
            at = _first_difference(one, other)
            shown = [_token(ids, at, decode and decode[side]) for side, ids in enumerate((one, other))]
            return (
                f"the text is the same, {label} {at} differs: {names[0]} has {shown[0]}, {names[1]} has {shown[1]} "
                f"({len(one)} and {len(other)} tokens)"
            )
    return None


def _first_difference(a: Sequence[object], b: Sequence[object]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _excerpt(text: str, at: int, before: int = 20, after: int = 30) -> str:
    start, end = max(0, at - before), at + after
    return ("..." if start else "") + repr(text[start:end]) + ("..." if end < len(text) else "")


def _token_lists(rendered: Rendered) -> Iterator[tuple[str, Ids]]:
    yield "token", rendered.token_ids
    for k, (context, continuation) in enumerate(rendered.scored or ()):
        yield f"context {k} token", context
        yield f"continuation {k} token", continuation


def _token(ids: Ids, at: int, decode: Decode | None) -> str:
    if at >= len(ids):
        return "no more tokens"
    return f"{ids[at]} {decode(ids[at : at + 1])!r}" if decode else str(ids[at])
