"""Decoding of generated tokens to text, and the end of an answer. Pure Python over any transformers tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def cut_at_stop(text: str, stop: Sequence[str], reasoning_end: str | None) -> tuple[str, bool]:
    """(text before the earliest stop string, whether there was one).

    With `reasoning_end` stop strings count only after its first occurrence: nothing is cut inside a
    reasoning.
    """
    start = 0
    if reasoning_end is not None:
        at = text.find(reasoning_end)
        if at < 0:
            return text, False
        start = at + len(reasoning_end)
    found = [at for s in stop if s and (at := text.find(s, start)) >= 0]
    return (text[: min(found)], True) if found else (text, False)


class Decoder:
    """Token ids to text without special tokens, as lm-eval and vLLM decode answers.

    A special token that spells the end of the reasoning is kept, since it divides the answer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._special = {i: str(t) for i, t in tokenizer.added_tokens_decoder.items() if t.special}

    def text(self, ids: Sequence[int], reasoning_end: str | None = None) -> str:
        """The text of `ids`."""
        kept = [i for i in ids if i not in self._special or self._special[i] == reasoning_end]
        return str(self._tokenizer.decode(kept, skip_special_tokens=False)) if kept else ""


def end_token_ids(tokenizer: Any, declared: Sequence[Any]) -> list[int]:
    """The tokens that end a completion: the tokenizer's EOS, the declared ones, the end of a chat turn.

    `declared` holds the `eos_token_id` values of the configurations: a number, a list of them, or None.
    Checkpoints of one model often differ in these while their chat template is the same.
    """
    found: set[int] = set()
    for value in (tokenizer.eos_token_id, _turn_end(tokenizer), *declared):
        found.update(value if isinstance(value, list | tuple) else [] if value is None else [value])
    return sorted(int(i) for i in found)


def _turn_end(tokenizer: Any) -> int | None:
    """The special token that the chat template puts after an assistant's message, where it does."""
    if not tokenizer.chat_template:
        return None
    mark = "bitparity-turn"
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": mark}]
    try:
        text = str(tokenizer.apply_chat_template(messages, tokenize=False))
    except Exception:  # templates raise what they like; without one the declared tokens hold
        return None
    ids = tokenizer.encode(text.rpartition(mark)[2], add_special_tokens=False)
    special = {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    return int(ids[0]) if ids and ids[0] in special and ids[0] != tokenizer.bos_token_id else None
