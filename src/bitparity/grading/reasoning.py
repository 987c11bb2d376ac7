"""Reasoning and answer, told apart: one place for every engine, reader and protocol.

A protocol names the tags of its reasoning. A text may hold others all the same, of a model or server that reasons
unasked: these are known by their usual spellings, and what is inside is never graded either.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from bitparity.schema import ReasoningSpec

Reasoning = ReasoningSpec | Literal["none"]

UNNAMED_TAG = "reasoning_tag"  # in a grade's details: the opening tag of a reasoning that the protocol does not name

# opening and closing tags as models write them; the last is gpt-oss without its special tokens
USUAL_TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel|>analysis", "<|channel|>final<|message|>"),
    ("<unused94>thought", "<unused95>"),
    ("analysis", "assistantfinal"),
)
# any other spelling: brackets around a name of reasoning, with what closes it
_NAME = r"(?:think|thought|reason|reflect|scratchpad|monologue|analysis|deliberat)[\w\u2581: -]{0,24}?"
_OTHER_START = re.compile(
    rf"(?P<open>[<\[\u25c1\u3010][|\uff5c]?)(?P<name>(?!end)[\w\u2581:-]{{0,24}}?{_NAME})(?:\s[^<>\n]{{0,60}})?"
    r"(?P<close>[|\uff5c]?[>\]\u25b7\u3011])",
    re.IGNORECASE,
)
_OTHER_END = re.compile(
    rf"[<\[\u25c1\u3010][|\uff5c]?(?:/|end)[\w\u2581:-]{{0,24}}?{_NAME}[|\uff5c]?[>\]\u25b7\u3011]", re.IGNORECASE
)
_END_ALONE = re.compile(r"(?<!`)</[\w:-]{0,24}?(?:think|thought|reason)\w{0,24}>(?!`)", re.IGNORECASE)
TURN_END = "turn_end"  # in a grade's details: the marker of a chat template behind which the model wrote on

# markers with which chat templates end a turn, and those that begin the next one behind an answer
_TURN_END = re.compile(
    r"<(?:\|(?:im_end|eot_id|eom_id|end|return|endoftext|end_of_text|END_OF_TURN_TOKEN)\|>|end_of_turn>"
    r"|[|\uff5c]end\u2581of\u2581sentence[|\uff5c]>|/s>(?=\s*(?:$|<s>|\[INST\]))"
    r"|(?P<next>\|(?:im_start|start_header_id|user|assistant)\|>|start_of_turn>|[|\uff5c](?:User|Assistant)[|\uff5c]>))"
)
# heads of turns in plain text, as they are left where special tokens are not written: of another's, and of the model's
_OTHERS_HEAD = re.compile(r"^(?:user|human|(?:### ?)?(?:User|Human|Instruction) ?:.*)$", re.MULTILINE)
_OWN_HEAD = re.compile(r"^(?:assistant|model|(?:### ?)?(?:Assistant|AI|Response) ?:.*)$", re.MULTILINE)
_LEAD = re.compile(
    r"\A\s*(?:<\|(?:im_start|start_header_id|assistant)\|>)?\s*(?:assistant\b)?\s*(?:<\|end_header_id\|>)?"
)
_WORDS = ("analysis",)  # a start that may be a word of an answer: it counts with its end alone


class Parts(NamedTuple):
    """The parts of a raw text: the reasoning (None without one), the answer, and whether the reasoning ended.

    `unnamed` are the tags of the reasoning where the protocol does not name them. `turn_end` is the marker behind which
    the model wrote on, where the answer was cut there (`own_turn`).
    """

    reasoning: str | None
    answer: str
    ended: bool
    unnamed: ReasoningSpec | None = None
    turn_end: str | None = None


def split_reasoning(text: str, reasoning: Reasoning, opened: bool | None = None) -> Parts:
    """Split a raw text into reasoning and answer.

    The first end tag closes the reasoning. The opening tag may be absent, since many chat templates supply
    it; for the same reason a text without an end tag is all reasoning, whatever its finish: nothing shows
    that any of it is an answer. A block opened again inside the answer is reasoning too, and one that stays
    open means that the reasoning never ended. Tags that the protocol does not name part a text just so.

    `opened` tells whether the prompt ended inside a reasoning (None: not known, as with recorded answers). Where
    it did not, a text without either tag holds no reasoning and is all answer, with `reasoning` "": the model was
    asked to think and answered at once, or the template closed an empty reasoning (Qwen3 without thinking).
    """
    tags = unnamed_tags(text, reasoning)
    if tags is None and reasoning == "none":
        return Parts(None, text, True)
    named = tags or reasoning
    assert named != "none"
    start, end = named.start, named.end
    if opened is False and start not in text and end not in text:
        return Parts("", text, True, tags)
    thought, closed, answer = text.partition(end)
    thoughts, answers = [thought.lstrip().removeprefix(start) if tags else thought.removeprefix(start)], []
    while closed and start in answer:
        said, _, rest = answer.partition(start)
        thought, closed, answer = rest.partition(end)
        answers.append(said)
        thoughts.append(thought)
    if not closed:
        return Parts("".join(thoughts), "", False, tags)
    return Parts("".join(thoughts), "".join([*answers, answer]), True, tags)


def own_turn(answer: str) -> tuple[str, str | None]:
    """An answer up to the end of the model's turn, and the marker that ends it where the model wrote on behind it.

    An engine that knows the end token stops there. Where it does not, the model may go on with a question and an
    answer of its own making, which is no answer to the question that was asked.
    """
    for end in _TURN_END.finditer(answer):
        said = answer[: end.start()].rstrip()
        if said or not end["next"]:  # a marker that begins the first turn ends none
            return said, end[0] if _TURN_END.sub("", answer[end.start() :]).strip() else None
    return _own_plain_turn(answer)


def _own_plain_turn(answer: str) -> tuple[str, str | None]:
    """As `own_turn`, by the heads of plain text: of another's turn, and of the model's own behind it."""
    other = next((head for head in _OTHERS_HEAD.finditer(answer) if answer[: head.start()].strip()), None)
    if other is None or _OWN_HEAD.search(answer, other.end()) is None:
        return answer, None
    return answer[: other.start()].rstrip(), other[0].partition(":")[0]


def unnamed_tags(text: str, reasoning: Reasoning) -> ReasoningSpec | None:
    """The tags of a reasoning that the protocol does not name; None where the text holds none.

    An opening tag counts at the start of the text, where a reasoning begins: elsewhere it is spoken about. A closing
    one counts anywhere, but in quotes, since a chat template may have supplied the opening one.
    """
    own = None if reasoning == "none" else reasoning
    if own is not None and (own.start in text or own.end in text):
        return None
    begun = _LEAD.sub("", text[:200]).lstrip()[:100]
    for start, end in USUAL_TAGS:
        if own is not None and own.start == start:
            continue
        opens = begun.startswith(start) and (start not in _WORDS or end in text)
        if opens or (start not in _WORDS and end in text and f"`{end}`" not in text):
            return ReasoningSpec(start=start, end=end)
    if opening := _OTHER_START.match(begun):
        ending = _OTHER_END.search(text)
        if ending or opening["open"][0] not in "[\u3010":  # what stands in those may be a heading
            return ReasoningSpec(start=opening[0], end=ending[0] if ending else closing_tag(opening[0]))
    alone = _END_ALONE.search(text)
    return ReasoningSpec(start=alone[0].replace("/", "", 1), end=alone[0]) if alone else None


def closing_tag(start: str) -> str:
    """The tag that closes a reasoning which `start` opens, by the usual spellings."""
    other = _OTHER_START.match(start)
    derived = f"{other['open']}/{other['name']}{other['close']}" if other else ""
    return dict(USUAL_TAGS).get(start, derived)


def ends_in_reasoning(prompt: str, reasoning: Reasoning) -> bool:
    """True if a final prompt leaves the model inside a reasoning, its last opening tag not closed."""
    return reasoning != "none" and prompt.rstrip().endswith(reasoning.start)
