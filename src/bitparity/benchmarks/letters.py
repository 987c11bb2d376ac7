"""The option that a text chooses, read with a small grammar.

A *statement* names one option: "The answer is (C)", a boxed letter, a last line that is only a letter. The first one
holds. A later one takes its place where the text takes the first back ("wait", "let me check again") or reasons on to
it; a repetition without reasoning, a summary of several questions or a new question does not. A *hypothetical*
statement ("if it were doubled, the answer would be B") and a *weak* one ("the closest option is C") count only where
there is no better one, a weak one not where the next words deny it. The option's own text behind a letter confirms it.

Strict but fair: nothing is guessed. Every function takes time linear in the text, whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, lru_cache
from typing import NamedTuple

from bitparity.benchmarks.answers import PATTERNS, STATEMENT_CHARS, plain
from bitparity.benchmarks.patterns import compiled
from bitparity.records import Item

SEVERAL = "?"  # in place of a letter: a statement that names more than one option
REASONING_CHARS = 40  # of prose between two statements: less is a repetition
DENIAL_CHARS = 160  # a weak statement is denied within so many characters
LAST_WORDS = 120  # characters at the end of a text
BARE_LIST = 3  # statements, and hardly a word beside them
GAP_CHARS = 20_000  # of the text between two statements, from its start; more than that is reasoning whatever it says

INSTEAD = "cratch that", "ake that", "I mean", "orrection"
QUOTES = "*_`\"'“”‘’"

Options = Mapping[str, str] | Callable[[], Mapping[str, str]]


class Statement(NamedTuple):
    """An option that is named at a place of the text; `letter` may be `SEVERAL`, or an option that there is not."""

    start: int
    end: int
    letter: str
    weak: bool = False


def question_of(item: Item, sample: int = 0) -> str:
    """The text that asks a sample's question: the last message of its prompt; empty where there is no prompt."""
    if not item.prompts:
        return ""
    prompt = item.prompts[sample % len(item.prompts)]
    return prompt.messages[-1]["content"] if prompt.messages else prompt.text or ""


def options_of(item: Item, sample: int = 0) -> dict[str, str]:
    """The text of each option, by letter, as the sample's prompt shows them; of several questions those of the last."""
    lines = _patterns("J")["option_line"].finditer(question_of(item, sample))
    return {match["letter"]: match["text"].strip() for match in lines}


def final_letter(text: str, letters: str, ended: bool = True, options: Options = dict) -> str | None:
    """The option that a text chooses, None where it chooses none, several, or one outside `letters` (like "ABCD").

    `ended`: the model stopped by itself, so that its last line and last words may be its answer. `options` are the
    texts of the options by letter, or what gives them: few answers need them.
    """
    patterns = _patterns(max("J", *letters))
    if "~~" in text:
        text = patterns["struck"].sub(lambda struck: " " * len(struck[0]), text)
    found = _Reader(plain(text), ended, patterns, options).choice()
    return found if found is not None and found in letters else None


@lru_cache
def _patterns(last: str) -> dict[str, re.Pattern[str]]:
    """The patterns for options up to the letter `last`."""
    classes = {"upper": f"[A-{last}]", "unlike": f"[A-HJ-{last}]", "last": last, "lower": last.lower()}
    return compiled("letters", **classes, verb=PATTERNS["verb"].pattern, chinese=PATTERNS["chinese"].pattern)


class _Reader:
    """One text, and what it states."""

    def __init__(self, text: str, ended: bool, patterns: dict[str, re.Pattern[str]], options: Options) -> None:
        self._text, self._ended, self._patterns = text, ended, patterns
        self._told = options

    @cached_property
    def _options(self) -> Mapping[str, str]:
        return self._told() if callable(self._told) else self._told

    def choice(self) -> str | None:
        """The letter of the statement that counts."""
        strong = sorted(self._strong())
        firm = [each for each in strong if not self._is_hypothetical(each)]
        if firm and not self._patterns["withdrawn"].search(self._text, firm[0].end):  # nothing weak can take its place
            return self._held(firm).letter
        undenied = [each._replace(weak=True) for each in self._weak() if not self._is_denied(each)]
        weak = [each for each in undenied if not self._is_hypothetical(each)]
        if firm:
            return self._held(sorted([*firm, *(each for each in weak if each.start > firm[0].end)])).letter
        return max(weak or [*undenied, *strong]).letter if undenied or strong else None

    def _held(self, statements: list[Statement]) -> Statement:
        """The first statement, or the last of those that took its place."""
        held, seen = statements[0], statements[0].end
        strong = [each for each in statements if not each.weak]
        if len(strong) >= BARE_LIST and self._is_bare_list(strong):
            return strong[-1]
        for each in statements[1:]:
            if each.letter != held.letter:
                gap = self._text[seen : max(seen, each.start)][:GAP_CHARS]
                if held.letter == SEVERAL or self._replaces(gap, each):
                    held = each
                elif self._patterns["break"].search(gap):
                    break
            if not each.weak or held is each:
                seen = max(seen, each.end)
        return held

    def _is_bare_list(self, statements: list[Statement]) -> bool:
        """True where a text answers each question of the prompt in turn: numbered, or with hardly a word between."""
        text, at = "", 0
        for each in statements:
            text += self._text[at : each.start]
            at = max(at, each.end)
        words = self._patterns["prose"].findall(text[:GAP_CHARS])
        return len(words) <= len("The ") * len(statements) or bool(self._patterns["enumerated"].match(self._text))

    def _replaces(self, gap: str, later: Statement) -> bool:
        """True where the text between a statement and a later one takes the first back, or reasons on to the later."""
        own = self._text[max(0, later.start - 1) : later.end]
        turn = self._patterns["break"].search(gap)
        before = gap[: turn.start()] if turn else gap
        if self._patterns["withdrawn"].search(before + own if turn is None else before):
            return True
        if later.weak:
            return False
        head = self._patterns["answer_head"].search(gap + own)
        if head is not None:
            before = before[: head.start()]
        return turn is None and len(self._patterns["prose"].findall(before)) >= REASONING_CHARS

    def _strong(self) -> Iterator[Statement]:
        yield from self._named("answer")
        yield from self._named("marked")
        yield from self._matched("corrected")
        # few texts have these words, and a search for them takes less time than the patterns
        if any(words in self._text for words in INSTEAD):
            yield from self._matched("instead")
        if " but " in self._text:
            yield from self._matched("but")
        if self._ended:
            yield from self._last_line()

    def _named(self, heads: str) -> Iterator[Statement]:
        """The options behind the heads of statements that a pattern finds."""
        for match in self._patterns[heads].finditer(self._text):
            if found := self._letter_at(match.end()):
                yield Statement(match.start(), *found)

    def _matched(self, statements: str) -> Iterator[Statement]:
        """The statements that a pattern finds whole."""
        for match in self._patterns[statements].finditer(self._text):
            yield Statement(match.start(), match.end(), match["letter"])

    def _last_line(self) -> Iterator[Statement]:
        """A last line that is only a letter, not the next one of listed options, or an option with its text.

        The option's text counts in the only line, behind a line that ends in a colon, and where it is the option's.
        """
        text, patterns = self._text.strip(), self._patterns
        at = text.rfind("\n") + 1
        if len(text) - at > STATEMENT_CHARS:
            return
        above = text[:at].rstrip()
        line_above = above[above.rfind("\n") + 1 :][-STATEMENT_CHARS:]
        start, end = self._text.rfind(text) + at, len(self._text)
        match = None if patterns["listed"].match(line_above) else patterns["alone"].fullmatch(text, at)
        if match is None and (match := patterns["opening"].match(text, at)):
            first = match["letter"].isupper() and (not at or line_above.rstrip("*_ ").endswith(":"))
            named = first or self._confirms(match["letter"].upper(), match["text"])
            match = match if named and not patterns["listed"].match(line_above) else None
            start = end  # whatever else the text states comes before it
        if match:
            hedged = patterns["several"].match(text, match.end("letter"))
            yield Statement(start, end, SEVERAL if hedged else match["letter"].upper())

    def _weak(self) -> Iterator[Statement]:
        yield from self._named("correct")
        yield from self._matched("is_correct")
        if self._ended:
            yield from self._last_words()

    def _last_words(self) -> Iterator[Statement]:
        """The last line's own choice: "So option C.", "C is correct.", "it is (D) Broken valve.", "... is option H"."""
        text = self._text.rstrip()
        tail = text[max(text.rfind("\n") + 1, len(text) - STATEMENT_CHARS) :]
        at = len(text) - len(tail)
        end = tail[-LAST_WORDS:]
        match = self._patterns["last_word"].search(end[-60:])
        if match is None and self._patterns["leaves"].search(end):
            match = self._patterns["left"].search(end)
        if match:
            yield Statement(len(text) - 1, len(text), next(filter(None, match.groups())))
        for match in self._patterns["last_is"].finditer(tail):
            letter, rest = match["wrapped"] or match["dotted"] or match["bare"], match["rest"]
            goes_on = self._patterns["sentence"].search(rest.removeprefix(".").lstrip())
            closes = not goes_on and not self._patterns["other"].search(rest)
            named = match["wrapped"] or match["option"] or self._confirms(letter, rest)
            if closes and (named or (match["dotted"] and not self._options)):
                yield Statement(at + match.start(), at + match.start("rest"), letter)

    def _letter_at(self, at: int) -> tuple[int, str] | None:
        """End and letter of the option named at a position, behind markup and filler words."""
        match = self._patterns["letter"].match(self._text, at)
        if not match:
            return None
        lead, letter, rest = match.group("lead", "letter", "rest")
        end, before = match.end("letter"), self._text[at - 1 : at]
        wrapped = any(c in lead for c in "({[<")
        if not wrapped and any(c in lead for c in QUOTES):
            rest = rest.lstrip(QUOTES)
        if letter.isupper() and self._patterns["run"].match(rest):
            return end, SEVERAL  # "the answer is (CDF)"
        if not (self._patterns["closed"] if wrapped else self._patterns["bare"]).match(rest):
            return None
        if letter.islower() and wrapped and "\n" in lead:
            return None  # "(a)" opens a part
        if letter.islower() and not wrapped and not self._is_lower_option(letter, rest, before):
            return None
        if not wrapped and self._is_name(letter, rest, in_sentence=before not in ":\n"):
            return None
        return end, SEVERAL if self._patterns["several"].match(rest) else letter.upper()

    def _is_lower_option(self, letter: str, rest: str, before: str) -> bool:
        """True where a small letter ends its line; "a" and "i" only after a colon: "the answer is a ..." breaks off."""
        ends_line = self._patterns["line_ends"].match(rest)
        return bool(ends_line) and (letter not in "ai" or before == ":" or rest.startswith(")"))

    def _is_name(self, letter: str, rest: str, *, in_sentence: bool) -> bool:
        """True for the letter of a name or a sentence: "B lymphocytes", "H. pylori", "A number between 1 and 2"."""
        named = self._patterns["name"].match(rest) or (in_sentence and self._patterns["abbreviation"].match(rest))
        return bool(named) and not self._confirms(letter, rest)

    def _confirms(self, letter: str, rest: str) -> bool:
        """True where the words behind a letter are those of its option."""
        option, said = _normal(self._options.get(letter, "")), _normal(rest)
        length = min(len(option), len(said), 24)
        return length > 0 and option[:length] == said[:length] and length >= min(len(option), 4)

    def _is_hypothetical(self, statement: Statement) -> bool:
        """True for what would be the answer under a condition that its sentence makes."""
        said = self._text[statement.start : statement.end]
        if "would" not in said.lower():
            return False
        before = self._text[max(0, statement.start - 200) : statement.start]
        return self._patterns["hypothetical"].search(self._patterns["sentence"].split(before)[-1]) is not None

    def _is_denied(self, statement: Statement) -> bool:
        return self._patterns["denied"].search(self._text[statement.end : statement.end + DENIAL_CHARS]) is not None


def _normal(text: str) -> str:
    """The letters and digits of a text in small letters: what is left of an option whatever its markup."""
    return "".join(re.findall(r"\w", text.lower()))
