"""Finding the final mathematical answer that a text states.

Strict but fair: only a clear statement counts, the last one decides, and nothing is guessed. Every function here
takes time linear in the text, whatever the text.
"""

from __future__ import annotations

import itertools
import re
from typing import Literal, NamedTuple

from bitparity.benchmarks.units import is_counted, marks, unit_of

STATEMENT_CHARS = 400  # a statement of an answer is read no further than this
MOST_BOXES = 20  # that are looked at where different ones are counted
BOX_CHARS = 2000  # a box longer than this holds no answer


# Full-width forms and typographic dashes as the ASCII characters they stand for, one for one, so that positions stay
_PLAIN = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_PLAIN |= {ord(c): ord(p) for c, p in zip("。【】「」『』〔〕–—−", ".[][][][]---", strict=True)}
_NOT_PLAIN = re.compile(f"[{''.join(map(chr, _PLAIN))}]")


# between "answer" and what it is, and the same in Chinese
VERB = (
    r"(?:[:=→]|\s-{1,2}\s"
    r"|\b(?:is|are|would be|should be|must be|will be|can only be|has to be|equals|remains|(?:seems|appears) to be)\b)"
)
CHINESE = r"答案[^.\n:是为不]{0,6}(?:[:是为]{1,2}(?:选(?!项))?|选(?!项))"
_TAG = r"<answer>"

_SHORT = r"['’](?:s|(?:d|ll)\s+be)(?=\W{1,8}(?:(?!not\b)\w{3,13}\W{1,8})?\d|\W{0,8}[$\\])"  # "the answer's 42"
_ANSWER = re.compile(
    rf"\banswers?\b(?:{_SHORT}|[^.\n:=]{{0,40}}?{VERB})|\bfinal answer\b[\s*_#]*\n|{CHINESE}|{_TAG}", re.IGNORECASE
)


def plain(text: str) -> str:
    """The text with full-width forms and typographic dashes as ASCII, of the same length."""
    # str.translate asks for each character
    return text if text.isascii() else _NOT_PLAIN.sub(lambda match: chr(_PLAIN[ord(match[0])]), text)


class Stated(NamedTuple):
    """A stated answer and how: in a box, as "the answer is ...", or as the last line of the text.

    `options` are the readings to compare with the reference, the whole statement first.
    """

    kind: Literal["box", "statement", "conclusion"]
    options: tuple[str, ...]


_TOKEN = re.compile(r"\\.|[{}]", re.DOTALL)
_BOX_HEAD = re.compile(r"\\f?box(?:ed)?(?![a-zA-Z])\s*|(?<![a-zA-Z\\])boxed(?=\{)")
_BARE_BOX = re.compile(r"-?\d+(?:[.,/]\d+)*")
_QUAD = r"(?:\\q?quad|[\s$\\()\[\],;!~]){0,12}"
_AND = r"(?:,|;|\b(?:and|or)\b)"
_JOINT = re.compile(
    rf"(?:{_QUAD}(?:[a-zA-Z]{{1,15}}\s*)?{_AND}|{_QUAD}\\q?quad|{_QUAD}\\text\{{[^{{}}]{{0,30}}?{_AND}\s*\}})"
    rf"{_QUAD}(?:[a-zA-Z](?:_\{{?\d\}}?)?\s*=\s*)?| *"
)
_SEGMENT = r"(?:\$\$[^$]{1,400}\$\$|\$[^$\n]{1,400}\$|\\\([^\n]{1,400}?\\\)|\\\[.{1,400}?\\\])"
_MATHS = re.compile(rf"{_SEGMENT}(?:\s*(?:,\s*and|,\s*or|,|and|or)\s+{_SEGMENT}){{0,5}}", re.DOTALL)

_FILLER = re.compile(
    r"\A(?:[\s:*_#~]|\b(?:approximately|about|simply|thus|therefore|equal to|the|is|that|then)\b){0,20}+", re.IGNORECASE
)

_SENTENCE_END = re.compile(r"\n|[.!?](?=[\s*$]|$)|</answer>|[,;]?\s+\b(?:because|since|which|where|as|so|for|not)\b")
_NUMBER_FIRST = re.compile(r"(?P<number>[-+−]?\\?[$€£]?\s?\d[\d,]*(?:\.\d+)?(?:/\d+)?)(?P<rest>\s+[^\d]*)?$")
_DOLLAR = re.compile(r"(?<!\\)\$")
_EXPRESSION = re.compile(r"\$|\\[(\[a-zA-Z]|[-+−]?[.\d]|[a-zA-Z]\s*=")
_MATHEMATICAL = re.compile(r"\d|\$|\\[(\[]|\\[a-zA-Z]")


def final_answer(text: str, ended: bool = True) -> Stated | None:
    """The mathematical answer that a text states last, None without one.

    The last `\\boxed{}` holds it (several, joined by a comma, "and" or "or", are one list), unless a later "the answer
    is ..." gives another expression; without a box the last "the answer is ..." does, and without one, in a text that
    `ended` by itself, the last line. A box that never closes, cut off or not, leaves the text without an answer.
    """
    text = plain(text)
    box = _last_box(text)
    if box is None:
        return _last_statement(text, 0) or (_conclusion(text) if ended else None)
    end, content = box
    if not content:
        return None
    later = _last_statement(text, end)
    return later if later and _EXPRESSION.match(later.options[0]) else Stated("box", (content,))


def has_box(text: str) -> bool:
    """True where a text opens a box, closed or not."""
    return _BOX_HEAD.search(text) is not None


def boxed_answers(text: str) -> set[str]:
    """The different contents of a text's first boxes, without white space; an open box has none."""
    if "box" not in text:  # a cheaper look than the pattern, and few benchmarks have boxes
        return set()
    heads = itertools.islice(_BOX_HEAD.finditer(text), MOST_BOXES)
    contents = (_box_content(text, head.end())[1] for head in heads)
    return {"".join(content.split()) for content in contents if content}


def _last_box(text: str) -> tuple[int, str] | None:
    """End and content of the last box, "" where it is never closed; empty boxes are passed over."""
    heads = [m.span() for m in _BOX_HEAD.finditer(text)]
    contents: list[str] = []
    first = last = 0
    for start, head_end in reversed(heads):
        end, content = _box_content(text, head_end)
        if contents and (end > first or not _joined(text[end:first])):
            break
        if content is None and not contents:
            return (len(text), "")
        if content and content not in contents:
            contents.insert(0, content)
        if content:
            last, first = last or end, start
    return (last, ", ".join(contents)) if contents else None


def _joined(gap: str) -> bool:
    return len(gap) <= 40 and _JOINT.fullmatch(gap) is not None


def _box_content(text: str, at: int) -> tuple[int, str | None]:
    """End and content of a box whose head ends at `at`; None where its brace never closes."""
    if not text.startswith("{", at):
        bare = _BARE_BOX.match(text, at)
        return (bare.end(), bare[0]) if bare else (at, "")
    depth = 0
    for token in _TOKEN.finditer(text, at, at + BOX_CHARS):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return token.end(), text[at + 1 : token.start()].strip()
    return len(text), None


def _last_statement(text: str, after: int) -> Stated | None:
    """The answer in the last "the answer is ..." behind the position `after`."""
    for end in reversed([m.end() for m in _ANSWER.finditer(text, after)]):
        said = _said(_FILLER.sub("", text[end : end + STATEMENT_CHARS], count=1))
        if said:
            return Stated("statement", said)
    return None


_LABEL = re.compile(r"^[^\w\n]{0,8}(?:(?:exact|final)\s)?answer[*_`\s]{0,4}:[*_`]{0,3}", re.IGNORECASE | re.MULTILINE)
_NEXT_LABEL = re.compile(r"^[^\w\n]{0,8}(?:confidence|explanation)\b[^\n]{0,4}:", re.IGNORECASE | re.MULTILINE)


def labelled_answer(text: str) -> Stated | None:
    """The answer behind the last line that begins with "Answer:", up to "Confidence:" or a blank line.

    The readings: the whole of it, the box in it, and what `final_answer` reads behind "the answer is". None without
    such a line or with nothing behind it.
    """
    text = plain(text)
    for end in reversed([m.end() for m in _LABEL.finditer(text)]):
        piece = text[end : end + BOX_CHARS]
        following = _NEXT_LABEL.search(piece)
        piece = piece[: following.start() if following else len(piece)].strip()
        piece = re.split(r"\n\s*\n", piece, maxsplit=1)[0].strip(" *_`\n\t")
        if piece:
            box = _last_box(piece)
            if box is not None:
                return Stated("box", (box[1],)) if box[1] else None
            head = _FILLER.sub("", piece[:STATEMENT_CHARS], count=1)
            return Stated("statement", tuple(dict.fromkeys((piece, *_said(head)))))
    return None


def _said(tail: str) -> tuple[str, ...]:
    maths = _MATHS.match(tail)
    if maths:
        return (maths[0],)
    end = _SENTENCE_END.search(tail)
    piece = tail[: end.start() if end else len(tail)].strip(" *_`\"'")
    number = _NUMBER_FIRST.fullmatch(piece)
    if number and number["rest"] and is_counted(number["rest"]) and not (unit_of(number["rest"]) or marks(piece)[0]):
        return (piece, number["number"])  # what is counted does not matter; a unit or "PM" does, and stays
    return (piece,) if piece else ()


def _conclusion(text: str) -> Stated | None:
    """The last line of a text, or the display formula that ends it."""
    stripped = text.rstrip()
    line = stripped[stripped.rfind("\n") + 1 :]
    for opening, closing in (("\\[", "\\]"), ("$$", "$$")):
        if line.strip(" .\t") == closing:
            line = stripped[max(0, stripped.rfind(opening, 0, len(stripped) - len(line))) :]
    before, line = line[:-STATEMENT_CHARS], line[-STATEMENT_CHARS:]
    if _DOLLAR.subn("", before)[1] % 2:  # cut inside a formula, of which the rest is none
        line = line.partition("$")[2]
    return Stated("conclusion", (line,)) if _MATHEMATICAL.search(line) and not breaks_off(line) else None


def breaks_off(text: str) -> bool:
    """True where a formula of the text is not closed: a brace, a display or a dollar that opens has no end."""
    braces = [token[0] for token in _TOKEN.finditer(text)]
    opened = text.rfind("\\["), text.rfind("\\(")
    closed = text.rfind("\\]"), text.rfind("\\)")
    dollars = len(_DOLLAR.findall(text))
    return (
        braces.count("{") != braces.count("}")
        or any(o > c for o, c in zip(opened, closed, strict=True))
        or dollars % 2 == 1
    )
