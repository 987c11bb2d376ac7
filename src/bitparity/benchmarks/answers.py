"""Finding the final mathematical answer that a text states.

Strict but fair: only a clear statement counts, the last one decides, and nothing is guessed. Every function here
takes time linear in the text, whatever the text.
"""

from __future__ import annotations

import itertools
import re
from typing import Literal, NamedTuple

from bitparity.benchmarks.patterns import compiled
from bitparity.benchmarks.units import is_counted, marks, unit_of

STATEMENT_CHARS = 400  # a statement of an answer is read no further than this
MOST_BOXES = 20  # that are looked at where different ones are counted
BOX_CHARS = 2000  # a box longer than this holds no answer
PATTERNS = compiled("answers")

# Full-width forms and typographic dashes as the ASCII characters they stand for, one for one, so that positions stay
_PLAIN = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_PLAIN |= {ord(c): ord(p) for c, p in zip("。【】「」『』〔〕–—−", ".[][][][]---", strict=True)}
_NOT_PLAIN = re.compile(f"[{''.join(map(chr, _PLAIN))}]")


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
    return later if later and PATTERNS["expression"].match(later.options[0]) else Stated("box", (content,))


def has_box(text: str) -> bool:
    """True where a text opens a box, closed or not."""
    return PATTERNS["box_head"].search(text) is not None


def boxed_answers(text: str) -> set[str]:
    """The different contents of a text's first boxes, without white space; an open box has none."""
    if "box" not in text:  # a cheaper look than the pattern, and few benchmarks have boxes
        return set()
    heads = itertools.islice(PATTERNS["box_head"].finditer(text), MOST_BOXES)
    contents = (_box_content(text, head.end())[1] for head in heads)
    return {"".join(content.split()) for content in contents if content}


def _last_box(text: str) -> tuple[int, str] | None:
    """End and content of the last box, "" where it is never closed; empty boxes are passed over."""
    heads = [m.span() for m in PATTERNS["box_head"].finditer(text)]
    contents: list[str] = []
    first = last = 0
    for start, head_end in reversed(heads):
        end, content = _box_content(text, head_end)
        if contents and not (end <= first <= end + 40 and PATTERNS["joint"].fullmatch(text[end:first])):
            break  # not joined to one list with the box behind
        if content is None and not contents:
            return (len(text), "")
        if content and content not in contents:
            contents.insert(0, content)
        if content:
            last, first = last or end, start
    return (last, ", ".join(contents)) if contents else None


def _box_content(text: str, at: int) -> tuple[int, str | None]:
    """End and content of a box whose head ends at `at`; None where its brace never closes."""
    if not text.startswith("{", at):
        bare = PATTERNS["bare_box"].match(text, at)
        return (bare.end(), bare[0]) if bare else (at, "")
    depth = 0
    for token in PATTERNS["token"].finditer(text, at, at + BOX_CHARS):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return token.end(), text[at + 1 : token.start()].strip()
    return len(text), None


def _last_statement(text: str, after: int) -> Stated | None:
    """The answer in the last "the answer is ..." behind the position `after`."""
    for end in reversed([m.end() for m in PATTERNS["answer"].finditer(text, after)]):
        if said := _said(PATTERNS["filler"].sub("", text[end : end + STATEMENT_CHARS], count=1)):
            return Stated("statement", said)
    return None


def labelled_answer(text: str) -> Stated | None:
    """The answer behind the last line that begins with "Answer:", up to "Confidence:" or a blank line.

    The readings: the whole of it, the box in it, and what `final_answer` reads behind "the answer is". None without
    such a line or with nothing behind it.
    """
    text = plain(text)
    for end in reversed([m.end() for m in PATTERNS["label"].finditer(text)]):
        piece = text[end : end + BOX_CHARS]
        following = PATTERNS["next_label"].search(piece)
        piece = piece[: following.start() if following else len(piece)].strip()
        piece = re.split(r"\n\s*\n", piece, maxsplit=1)[0].strip(" *_`\n\t")
        if piece:
            box = _last_box(piece)
            if box is not None:
                return Stated("box", (box[1],)) if box[1] else None
            head = PATTERNS["filler"].sub("", piece[:STATEMENT_CHARS], count=1)
            return Stated("statement", tuple(dict.fromkeys((piece, *_said(head)))))
    return None


def _said(tail: str) -> tuple[str, ...]:
    if maths := PATTERNS["maths"].match(tail):
        return (maths[0],)
    end = PATTERNS["sentence_end"].search(tail)
    piece = tail[: end.start() if end else len(tail)].strip(" *_`\"'")
    number = PATTERNS["number_first"].fullmatch(piece)
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
    if PATTERNS["dollar"].subn("", before)[1] % 2:  # cut inside a formula, of which the rest is none
        line = line.partition("$")[2]
    return Stated("conclusion", (line,)) if PATTERNS["mathematical"].search(line) and not breaks_off(line) else None


def breaks_off(text: str) -> bool:
    """True where a formula of the text is not closed: a brace, a display or a dollar that opens has no end."""
    braces = [token[0] for token in PATTERNS["token"].finditer(text)]
    displays = (("\\[", "\\]"), ("\\(", "\\)"))
    open_display = any(text.rfind(opening) > text.rfind(closing) for opening, closing in displays)
    open_dollar = len(PATTERNS["dollar"].findall(text)) % 2 == 1
    return open_display or open_dollar or braces.count("{") != braces.count("}")
