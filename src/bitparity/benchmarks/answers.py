"""Finding the final answer that a text states: an option's letter, or a mathematical expression.

Strict but fair: only a clear statement counts, the last one decides, and nothing is guessed. Every function here
takes time linear in the text, whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, NamedTuple

STATEMENT_CHARS = 400  # a statement of an answer is read no further than this
BOX_CHARS = 2000  # a box longer than this holds no answer


# Full-width forms and typographic dashes as the ASCII characters they stand for, one for one, so that positions stay
_PLAIN = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}


_PLAIN |= {ord(c): ord(p) for c, p in zip("。【】「」『』〔〕–—−", ".[][][][]---", strict=True)}


_VERB = r"(?:[:=]|\s-{1,2}\s|\b(?:is|are|(?:would|should|must|will) be)\b)"
_CHINESE = r"答案[^.\n:是为不]{0,6}(?:[:是为]{1,2}(?:选(?!项))?|选(?!项))"
_TAG = r"<answer>"

_ANSWER = re.compile(
    rf"\banswers?\b[^.\n:=]{{0,40}}?{_VERB}|\bfinal answer\b[\s*_#]*\n|{_CHINESE}|{_TAG}", re.IGNORECASE
)


def plain(text: str) -> str:
    """The text with full-width forms and typographic dashes as ASCII, of the same length."""
    return text if text.isascii() else text.translate(_PLAIN)


# ---------------------------------------------------------------- letters

# not "the answers are (a) ..."
_ANSWER_LETTER = re.compile(rf"\banswer\b[^.\n:=]{{0,40}}?{_VERB}|{_TAG}", re.IGNORECASE)
_BOX = re.compile(r"\\f?box(?:ed)?\s*(?=\{)")

_WRAP = (
    r"""[\s*_`"'“”‘’$:=>~<({\[-]|\\[(\[,;!]|\\f?box(?:ed)?|\\(?:text|math)[a-z]*|选项"""
    r"""|\b(?:the|correct|best|option|choice|letter|answer|likely|most|therefore|thus|hence|clearly|simply)\b"""
)

_CLOSED = re.compile(r"\s*(?:[)}\].:,<>]|\\|$)")
_QUOTES = "*_`\"'“”‘’"
_BARE = re.compile(r"(?![a-zA-Z0-9_'’+^/<>=-]|\s*[+^/<>=]|\s[*×]\s*\w|\s-\s*(?:\d|\w\b))|</")
_LINE_ENDS = re.compile(r"[\s.*)]*$|\)")
_CLAUSE = re.compile(r"\s+(?!(?:because|since|as|for|and|or|with|which|based|due|is|in|by|from)\b)[a-z]")
_OPTION = r"\b(?:correct|best|right|closest|likely|appropriate|accurate)\s+(?:option|choice|one)\b|正确选项"

_CORRECT = re.compile(
    rf"(?:{_OPTION})[^.\n:=]{{0,40}}?(?:{_VERB}|是|为)|{_CHINESE}|[故应此以]选(?!项)择?"
    r"|^[^\n\w]{0,12}(?:option|choice)\s*:|\b(?:choose|pick|select|go with)\b",
    re.IGNORECASE | re.MULTILINE,
)


class _Letters:
    """The patterns that name letters, for options up to the letter `last`."""

    def __init__(self, last: str) -> None:
        upper = f"[A-{last}]"
        unlike_words = f"[A-HJ-{last}]"  # "I" alone is more often the pronoun
        so = r"\b(?:[Hh]ence|[Tt]hus|[Tt]herefore|[Ss]o)\b,?\s+(?:it\s+is\s+)?(?:option|choice)\s+"
        self.letter = re.compile(
            rf"(?P<lead>(?:{_WRAP}){{0,24}}+)(?P<letter>[A-{last}a-{last.lower()}])(?P<rest>[^\n]{{0,60}})",
            re.IGNORECASE,
        )
        self.several = re.compile(
            rf"[\s)}}\]*.]{{0,4}}(?:(?:,|/|&)[\s(\[*]*{upper}(?=[)\],.*]|\s*$|\s+(?:and|or)\b)"
            rf"|,?\s*(?:\b(?:or|and)\b|[或和])[\s(\[*]*(?:option\s+)?(?:{unlike_words}\b(?!['’])|I[)\],.*]))"
        )
        self.run = re.compile(rf"{upper}{{1,9}}\b")
        self.alone = re.compile(
            rf"""[\s*_`"'$(\[{{#<]*(?:(?:option|choice|answer)\s+)?\(?(?P<letter>{upper})[\s*_`"'$)\]}}.:>]*"""
        )
        self.listed = re.compile(rf"[\s(*-]*{upper}[).:]")
        self.opening = re.compile(rf"\(?(?P<letter>{upper})[).:]\s+\S")
        self.corrected = re.compile(
            r"\b(?:[Nn]o|[Ww]ait|[Aa]ctually|[Cc]orrection)\b[^.\n]{0,40}?\b(?:it|that|this)\s+"
            r"(?:is|(?:should|must|would)\s+be)\s+(?:(?:option|choice)\s+)?"
            rf"[(*]{{0,3}}(?P<letter>{upper})[)*]{{0,3}}\s*(?:[.!\n]|\Z)"
        )
        self.last_word = re.compile(
            rf"(?:\b(?:is|would be)\s+(?:(?:option|choice)\s+)?\((?P<said>{upper})\)"
            rf"|{so}[(*]{{0,3}}(?P<so>{upper})[)*]{{0,3}}"
            rf"|(?<![\w.])(?:(?:[Oo]ption|[Cc]hoice|[Ss]o|[Hh]ence|[Tt]hus)\s+|\A)[(*]{{0,3}}(?P<right>{upper})[)*]{{0,3}}"
            r"\s+is\s+(?:correct|right))[\s.*!]*\Z"
        )
        self.is_correct = re.compile(
            rf"(?<!\w)[(*]{{0,3}}(?P<letter>{upper})[)*.]{{0,4}}\s+is\s+(?:therefore\s+|thus\s+)?(?:the\s+)?"
            r"(?:(?:correct|right|best|closest|final|most\s+\w+)\s+)?(?:answer|option|choice)\b"
        )


_patterns = lru_cache(_Letters)


def final_letter(text: str, letters: str, ended: bool = True) -> str | None:
    """The option that the last clear statement of a final answer names, None without one.

    Statements: "answer is (C)", "Answer: **C**", a boxed letter, "No, it should be C.", and in a text that `ended`
    by itself a last line that is only a letter, or a whole answer "C. option". Where there is none of them: "the
    correct option is C", "C is the correct answer", "答案是 C", last words like "is (C)." A last statement with a
    letter outside `letters` (upper case, like "ABCD") is no answer, and nor is one that names two options.
    """
    text, patterns = plain(text), _patterns(max("J", *letters))
    statements = max(_statements(text, ended, patterns), default=None)
    found = statements or max(_weak_statements(text, ended, patterns), default=None)
    return found[1] if found and found[1] in letters else None


def _statements(text: str, ended: bool, patterns: _Letters) -> Iterator[tuple[int, str]]:
    """The last statement of each kind: position and letter, "?" where more than one option is named."""
    for pattern in (_ANSWER_LETTER, _BOX):
        yield from _last_named(text, pattern, patterns)
    for match in patterns.corrected.finditer(text):
        yield match.start(), match["letter"]
    if ended:
        yield from _last_line(text, patterns)


def _last_named(text: str, heads: re.Pattern[str], patterns: _Letters) -> Iterator[tuple[int, str]]:
    for start, end in reversed([m.span() for m in heads.finditer(text)]):
        letter = _letter_at(text, end, patterns)
        if letter:
            yield start, letter
            return


def _last_line(text: str, patterns: _Letters) -> Iterator[tuple[int, str]]:
    """A last line that is only a letter, not the next one of listed options; or the only line, "C. option"."""
    stripped = text.strip()
    at = stripped.rfind("\n") + 1
    if len(stripped) - at > STATEMENT_CHARS:
        return
    before = stripped[stripped.rfind("\n", 0, max(0, at - 1)) + 1 : at][:STATEMENT_CHARS]
    match = None if patterns.listed.match(before) else patterns.alone.fullmatch(stripped, at)
    match = match or (None if at else patterns.opening.match(stripped))
    if match:
        yield text.rfind(stripped) + at, match["letter"]


def _weak_statements(text: str, ended: bool, patterns: _Letters) -> Iterator[tuple[int, str]]:
    yield from _last_named(text, _CORRECT, patterns)
    for match in patterns.is_correct.finditer(text):
        yield match.start(), match["letter"]
    tail = max(0, len(text.rstrip()) - 40)
    last = patterns.last_word.search(text[tail:]) if ended else None
    if last:
        yield tail + last.start(), last["said"] or last["so"] or last["right"]


def _letter_at(text: str, at: int, patterns: _Letters) -> str | None:
    """The option named at a position, behind markup and filler words; "?" for a choice between options."""
    match = patterns.letter.match(text, at)
    if not match:
        return None
    lead, letter, rest = match.group("lead", "letter", "rest")
    wrapped = any(c in lead for c in "({[<")
    if not wrapped and any(c in lead for c in _QUOTES):
        rest = rest.lstrip(_QUOTES)
    if letter.isupper() and patterns.run.match(rest):
        return "?"  # "the answer is (CDF)"
    if not (_CLOSED if wrapped else _BARE).match(rest):
        return None
    if letter.islower() and not wrapped and not _is_lower_option(letter, rest, text[at - 1 : at]):
        return None
    if not wrapped and letter in "AI" and _CLAUSE.match(rest):
        return None  # the article or the pronoun: "the answer is A number between"
    return "?" if patterns.several.match(rest) else letter.upper()


def _is_lower_option(letter: str, rest: str, before: str) -> bool:
    """True where a small letter ends its line; "a" and "i" only after a colon: "the answer is a ..." breaks off."""
    return bool(_LINE_ENDS.match(rest)) and (letter not in "ai" or before == ":" or rest.startswith(")"))


# ---------------------------------------------------------------- mathematics


class Stated(NamedTuple):
    """A stated answer and how: in a box, as "the answer is ...", or as the last line of the text.

    `options` are the readings to compare with the reference, the whole statement first.
    """

    kind: Literal["box", "statement", "conclusion"]
    options: tuple[str, ...]


_TOKEN = re.compile(r"\\.|[{}]", re.DOTALL)
_BOX_HEAD = re.compile(r"\\f?box(?:ed)?(?![a-zA-Z])\s*")
_BARE_BOX = re.compile(r"-?\d+(?:[.,/]\d+)*")
_JOINT = re.compile(r"[\s$\\()\[\]]{0,12}(?:,|;|\band\b|\bor\b|\\text\{\s*(?:and|or)\s*\})[\s$\\()\[\]a-z=]{0,12}")
_SEGMENT = r"(?:\$\$[^$]{1,400}\$\$|\$[^$\n]{1,400}\$|\\\([^\n]{1,400}?\\\)|\\\[.{1,400}?\\\])"
_MATHS = re.compile(rf"{_SEGMENT}(?:\s*(?:,\s*and|,\s*or|,|and|or)\s+{_SEGMENT}){{0,5}}", re.DOTALL)

_FILLER = re.compile(
    r"\A(?:[\s:*_#~]|\b(?:approximately|about|simply|thus|therefore|equal to|the|is|that|then)\b){0,20}+", re.IGNORECASE
)

_SENTENCE_END = re.compile(r"\n|[.!?](?=[\s*$]|$)|</answer>|[,;]?\s+\b(?:because|since|which|where|as|so|for|not)\b")
_NUMBER_FIRST = re.compile(r"(?P<number>[-+−]?\\?[$€£]?\s?\d[\d,]*(?:\.\d+)?(?:/\d+)?)\s*(?P<rest>[^\d]*)$")
_SCALE = re.compile(r"\b(?:hundred|thousand|million|billion|trillion|dozen|percent|and|or)\b|[+*/^=%\\]", re.IGNORECASE)
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
    return later if later and _expression_first(later.options[0]) else Stated("box", (content,))


def has_box(text: str) -> bool:
    """True where a text opens a box, closed or not."""
    return _BOX_HEAD.search(text) is not None


def _last_box(text: str) -> tuple[int, str] | None:
    """End and content of the last box, "" where it is never closed; empty boxes are passed over."""
    heads = [m.span() for m in _BOX_HEAD.finditer(text)]
    contents: list[str] = []
    first = last = 0
    for start, head_end in reversed(heads):
        end, content = _box_content(text, head_end)
        if contents and not _joined(text[end:first]):
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
    if number and not _SCALE.search(number["rest"]):
        return (piece, number["number"]) if number["rest"] else (piece,)
    return (piece,) if piece else ()


def _expression_first(said: str) -> bool:
    return bool(re.match(r"\$|\\[(\[a-zA-Z]|[-+−]?[.\d]|[a-zA-Z]\s*=", said))


def _conclusion(text: str) -> Stated | None:
    """The last line of a text, or the display formula that ends it."""
    stripped = text.rstrip()
    line = stripped[stripped.rfind("\n") + 1 :]
    for opening, closing in (("\\[", "\\]"), ("$$", "$$")):
        if line.rstrip(" .") == closing:
            line = stripped[max(0, stripped.rfind(opening, 0, len(stripped) - len(line))) :]
    line = line[-STATEMENT_CHARS:]
    return Stated("conclusion", (line,)) if _MATHEMATICAL.search(line) else None
