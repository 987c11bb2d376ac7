"""Rendering of an exam's prompts under a protocol, to the tokens that an engine is given or for a server to render."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bitparity.errors import ModelError
from bitparity.models.tokenizer import Ids, ModelTokenizer, Rendered
from bitparity.records import Message, Prompt, Unrendered
from bitparity.schema import Protocol, ReasoningSpec


class Renderer(ModelTokenizer):
    """The tokenizer of one model, for an exam's prompts."""

    def __init__(self, folder: Path, trust_remote_code: bool = False) -> None:
        super().__init__(folder, trust_remote_code)
        self._known: dict[int, tuple[Prompt, Protocol, Rendered]] = {}  # by the prompt object, which is kept alive

    def render(self, prompt: Prompt, protocol: Protocol) -> Rendered:
        """The final text and its tokens. Raises ModelError where the chat template cannot make it."""
        text, notes = self.text(prompt, protocol)
        return self.encode(text, prompt.continuations, notes)

    def render_once(self, prompt: Prompt, protocol: Protocol) -> Rendered:
        """As `render`, made once for an exam's prompt: variants that share this tokenizer share the tokens too."""
        known = self._known.get(id(prompt))
        if known is None or known[0] is not prompt or known[1] != protocol:
            known = (prompt, protocol, self.render(prompt, protocol))
            self._known[id(prompt)] = known
        return known[2]

    def text(self, prompt: Prompt, protocol: Protocol) -> tuple[str, tuple[str, ...]]:
        """The final text, and notes on what the chat template did not take or was given."""
        given = _with_protocol(prompt, protocol)
        return (given, ()) if isinstance(given, str) else self.chat_text(given, protocol)


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
            raise ModelError(
                "the protocol has a system message, but this benchmark's prompt is plain text; "
                "remove 'system' or use the benchmark's chat form"
            )
        return prompt.text
    if not protocol.apply_chat_template:
        remedy = "set it to true, or use a benchmark form with plain text"
        raise ModelError(f"the prompt is a chat and apply_chat_template is false; {remedy}")
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
    a: Rendered, b: Rendered, names: tuple[str, str], decode: tuple[Decode, Decode] | None = None
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
