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

from bitparity.benchmarks.answers import CHINESE, STATEMENT_CHARS, VERB, plain
from bitparity.records import Item

SEVERAL = "?"  # in place of a letter: a statement that names more than one option
REASONING_CHARS = 40  # of prose between two statements: less is a repetition
DENIAL_CHARS = 160  # a weak statement is denied within so many characters
LAST_WORDS = 120  # characters at the end of a text
BARE_LIST = 3  # statements, and hardly a word beside them
GAP_CHARS = 20_000  # of the text between two statements, from its start; more than that is reasoning whatever it says


_SHORT = r"['’](?:s|(?:d|ll)\s+be)(?=\W{1,8}(?:(?:option|\w{2,12}ly)\W{1,4})?\w\b)"  # "the answer's C", not "its unit"

# heads of statements; not "the answers are (a) ..."
# the class in front, not \\b and not IGNORECASE, lets the search jump from one possible start to the next
_ANSWER = re.compile(
    rf"[aA](?<!\w[aA])(?:nswer|NSWER)\b(?i:{_SHORT}|[^.\n:=]{{0,40}}?{VERB}|(?<=final answer)[\s*_#]*\n)"
)
_MARKED = re.compile(r"\\f?box(?:ed)?\s*(?=\{)|<(?:final_?)?answer>")
_OPTION = r"\b(?:correct|best|right|closest|likely|appropriate|accurate)\s+(?:option|choice|one|match)\b|正确选项"
_CORRECT = re.compile(
    rf"(?:{_OPTION})(?:{_SHORT}|[^.\n:=]{{0,40}}?(?:{VERB}|是|为))|{CHINESE}|(?:^|[故应此以,;\]\s])选(?!项)择?"
    r"|^[^\n\w]{0,12}(?:ans\s*[.:]|(?:(?:(?:my|the) )?(?:final|selected|chosen|correct) )?(?:option|choice)\s*:"
    r"|correct\s*:)"
    r"|\b(?:choose|pick|select|go with)\b",
    re.IGNORECASE | re.MULTILINE,
)

# between a head and its letter
_WRAP = (
    r"""</?(?:b|i|u|em|strong|code|mark|p|span)>|[\s*_`"'“”‘’$:=>~<({}\[-]|\\[(\[,;!]|\\f?box(?:ed)?|\\(?:text|math)[a-z]*|选项"""
    r"""|\b(?:the|correct|best|option|choice|letter|answer|likely|most|therefore|thus|hence|clearly|simply"""
    r"""|definitely|certainly|probably|obviously|indeed)\b"""
    r"|(?-i:,(?!\s+I,)(?:\s+[a-zI][a-z'’]{0,14}){1,5},)"  # an insertion: ", I believe,"
)
_CLOSED = re.compile(r"\s*(?:[)}\].:,<>]|\\(?=[\])}\\;,!]|text|quad|$)|$)")
_QUOTES = "*_`\"'“”‘’"
_BARE = re.compile(r"(?![a-zA-Z0-9_'’+^/<>=-]|\s*\$?\s*[+^/<>=]|\s*[*×]\s*\w|\s-\s*(?:\d|\w\b))|</")
_LINE_ENDS = re.compile(r"[\s.*)]*$|\)")
# a small word behind a bare letter makes it a name ("B lymphocytes", "A number between"), but for these
_NAME = re.compile(
    r"\s+(?!(?:and|or|because|since|as|for|with|which|that|based|due|is|in|by|from|rather|than|not|but|so|given|therefore"
    r"|thus|hence|while|when|where|if|although|though|are|was|would|here|only|instead|after|before)\b)[a-z]"
)
_ABBREVIATION = re.compile(r"\.\s(?P<word>[a-z]{4,})\b(?:[\s.,;!]*$|\s+(?:is|are|was|were|has|can|causes)\b)")

_WITHDRAWN = re.compile(
    r"\b(?:wait|actually|correction|sorry|apologi[sz]e|oops|hmm+|mistake[ns]?|hasty|(?:scratch|make) that|i meant?"
    r"|on second thou?ghts?"
    r"|(?:not|isn't|can't) (?:be )?(?:quite )?(?:right|correct)|(?:is|was|that's|seems) (?:wrong|incorrect)"
    r"|(?:second|closer) look|on (?:reflection|closer inspection)"
    r"|(?:let(?: me|'s| us)|i (?:should|need to|must|will|'ll)) (?:\w+[ -]){0,2}?(?:check|verify|reconsider|re-?\w+)"
    r"|double[- ]check\w*|re-?(?:check|consider|evaluat|examin|calculat|comput|think)\w*|check(?:ing)? again)\b"
    r"|(?:^|[.!?;,\n]\s{0,9})no\b(?![^.!?\n]{0,12}\b(?:answer|option)s?\b[^.!?\n]{0,20}\b(?:is|are|was)\s+(?:given|listed))"
    r"|不对|错了|重新|更正|等等|应该是|其实",
    re.IGNORECASE,
)
_INSTEAD = ("cratch that", "ake that", "I mean", "orrection")
_STRUCK = re.compile(r"~~[^~\n]{1,80}~~")
# the text turns to other questions, or to all of them at once
_BREAK = re.compile(
    r"^[\W_]{0,6}(?:question|q|problem|exercise|问题?|题目?)\s{0,2}[\d.]{0,5}\s{0,2}[:.)]"
    r"|\b(?:combin|summari[sz])(?:e|es|ing)\b[^.\n]{0,40}\b(?:answer|reasoning|step|question)s?\b"
    r"|\b(?:all|each|every)(?: of)?(?: the| these| my)? (?:answer|question)s?\b"
    r"|\b(?:first|second|third|fourth|fifth|next|other) question\b|\banswers to (?:the|these|all)\b"
    r"|总结",
    re.IGNORECASE | re.MULTILINE,
)
_ENUMERATED = re.compile(r"\W{0,9}(?:question|q)\s*1\b", re.IGNORECASE)
_ANSWER_HEAD = re.compile(
    r"^[\W_]{0,6}(?:(?:the|my)\s)?(?:final\s|correct\s)?(?:answer|答案|a)\b[\s*_]{0,4}[:\n]",
    re.IGNORECASE | re.MULTILINE,
)
_PROSE = re.compile(r"[^\W_]")
_MARKS = r"[(*]{0,3}", r"[)*]{0,3}", r"(?:[Oo]ption\s+|[Cc]hoice\s+)?"  # before a letter, behind it, before both
_ONLY = r"the\s+only\s+(?:\w+\s+)?(?:answer|option|choice|possibility|one)"
_FITS = r"(?:fits|works|matches|remains|qualifies|holds|is\s+(?:left|possible|correct|right|true))\b"
# few texts have these words, and a search for them takes less time than the pattern
_LEAVES = re.compile(
    r"(?:but|except|than|from|besides|so|hence|thus|therefore|gives|only|[Mm]y|say|going|limination)\b"
)
_BUT = r"(?:but|except(?:\s+for)?|other\s+than|apart\s+from|besides)\s+"
_DENIED = re.compile(
    r"\b(?:but|however|although|though|yet)\b[^\n]{0,80}?\b(?:not (?:the )?(?:correct|right|listed|given|an option)"
    r"|(?:incorrect|wrong)\b|none of)",
    re.IGNORECASE,
)
_HYPOTHETICAL = re.compile(r"\b(?:if|were|suppos\w+|assum\w+|had|unless|in that case)\b", re.IGNORECASE)
_SENTENCE = re.compile(r"[.!?]\s|\n")
_OPTION_LINE = re.compile(r"^(?:[ \t]*Options:)?[ \t]*\(?(?P<letter>[A-Z])[).:][ \t]*(?P<text>\S[^\n]*)", re.MULTILINE)


# before a second choice: "or, if wrong, (E)", "otherwise E", "but it could be (E)"
_SECOND = (
    r"(?:\b(?:maybe|perhaps|possibly|otherwise|alternatively|else|less likely|failing that"
    r"|if (?:(?:that|this|it)(?: is|['’]s) )?(?:not|wrong|incorrect)|but (?:it )?(?:could|might|may)(?: also)? be)\b,?)"
)


Options = Mapping[str, str] | Callable[[], Mapping[str, str]]


class Statement(NamedTuple):
    """An option that is named at a place of the text; `letter` may be `SEVERAL`, or an option that there is not."""

    start: int
    end: int
    letter: str
    weak: bool = False


def options_of(item: Item, sample: int = 0) -> dict[str, str]:
    """The text of each option, by letter, as the sample's prompt shows them; of several questions those of the last."""
    if not item.prompts:
        return {}
    prompt = item.prompts[sample % len(item.prompts)]
    text = prompt.messages[-1]["content"] if prompt.messages else prompt.text or ""
    return {match["letter"]: match["text"].strip() for match in _OPTION_LINE.finditer(text)}


def final_letter(text: str, letters: str, ended: bool = True, options: Options = dict) -> str | None:
    """The option that a text chooses, None where it chooses none, several, or one outside `letters` (like "ABCD").

    `ended`: the model stopped by itself, so that its last line and last words may be its answer. `options` are the
    texts of the options by letter, or what gives them: few answers need them.
    """
    if "~~" in text:
        text = _STRUCK.sub(lambda struck: " " * len(struck[0]), text)
    reader = _Reader(plain(text), ended, _patterns(max("J", *letters)), options)
    found = reader.choice()
    return found if found is not None and found in letters else None


class _Patterns:
    """The patterns that name letters, for options up to the letter `last`."""

    def __init__(self, last: str) -> None:
        upper = f"[A-{last}]"
        unlike_words = f"[A-HJ-{last}]"  # "I" alone is more often the pronoun
        self.letter = re.compile(
            rf"(?P<lead>(?:{_WRAP}){{0,24}}+)(?P<letter>[A-{last}a-{last.lower()}])(?P<rest>[^\n]{{0,60}})",
            re.IGNORECASE,
        )
        self.several = re.compile(
            rf"[\s)}}\]*.]{{0,4}}(?:(?:,|/|&)[\s(\[*]*{upper}(?=[)\],.*]|\s*$|\s+(?:and|or)\b)"
            rf"|[,;(]?\s*(?:\b(?:or|and)\b|[或和]|{_SECOND})(?:,?[\s(\[*]*{_SECOND})?[\s(\[*]*"
            rf"(?:option\s+)?(?:{unlike_words}\b(?!['’])|I[)\],.*]))"
        )
        self.other = re.compile(rf"\({upper}\)|\b(?:or|and)\s+(?:option\s+)?{unlike_words}\b(?!['’])")
        self.run = re.compile(rf"{upper}{{1,9}}\b")
        self.alone = re.compile(
            r"""[\s*_`"'$(\[{#<]*(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\s+)?\(?"""
            rf"""(?P<letter>{upper}|[a-{last.lower()}](?=\)))[\s*_`"'$)\]}}.:>]*"""
        )
        self.listed = re.compile(rf"[\s(*-]*{upper}[).:]")
        self.opening = re.compile(
            rf"[*_#\s]*(?:(?:[Oo]ption|[Cc]hoice)\s+)?\(?"
            rf"(?P<letter>{upper}|[a-{last.lower()}](?=\)))[).:]+\s+(?P<text>\S.*)"
        )
        ending = rf"[(*]{{0,3}}(?P<letter>{upper})[)*]{{0,3}}\s*(?:[.!\n]|\Z)"  # of a sentence
        self.corrected = re.compile(
            r"[NnWwAaCc](?<!\w[NnWwAaCc])(?:o|ait|ctually|orrection)\b[^.\n]{0,40}?\b(?:it|that|this)\s+"
            r"(?:is|(?:should|must|would)\s+be)\s+(?:(?:option|choice)\s+)?" + ending
        )
        self.instead = re.compile(
            r"(?:[Ss]cratch that|[Mm]ake that|\bI meant?|[Cc]orrection)\b[,:\s-]{0,4}(?:(?:it's|it is)\s)?" + ending
        )
        self.but = re.compile(
            rf"(?:n['’]t|\bnot)\s+(?:option\s+)?[(*]{{0,3}}{upper}[)*]{{0,3}}"
            rf"(?:(?:,|,?\s+n?or)\s*[(*]{{0,3}}{upper}[)*]{{0,3}}){{0,8}},?\s+but\s+(?:rather\s+)?"
            rf"(?:option\s+)?[(*]{{0,3}}(?P<letter>{upper})\b"
        )
        self.last_word, self.left = _last_word(upper, unlike_words), _left(upper)
        self.last_is = re.compile(
            rf"\b(?:is|are|(?:would|must|should) be)[\s:*_]+(?:(?P<option>option|choice)\s+)?[*_]{{0,2}}"
            rf"(?:\((?P<wrapped>{upper})\)|(?P<dotted>{upper})[.:)](?=\s+[A-Z\d$\\])|(?P<bare>{upper})\b)(?=(?P<rest>[^\n]*))"
        )
        self.is_correct = re.compile(
            rf"(?<!\w)[(*]{{0,3}}(?P<letter>{upper})[)*.]{{0,4}}\s+(?:is|(?:would|must|should|has to)\s+be)\s+"
            r"(?:therefore\s+|thus\s+)?(?:the\s+)?"
            r"(?:(?:correct|right|best|closest|final|most\s+\w+)\s+)?(?:answer|option|choice)\b"
        )


def _last_word(upper: str, unlike_words: str) -> re.Pattern[str]:
    """The pattern of a text's last words that name an option, each way in a group of its own."""
    opened, closed, option = _MARKS
    so = (
        r"(?:\b(?:[Hh]ence|[Tt]hus|[Tt]herefore|[Ss]o)\b,?\s+(?:it\s+is\s+)?(?:option|choice)\s+"
        r"|(?:(?<=[.!?:] )|(?<=\n))(?:Hence|Thus|Therefore|So),?\s+(?=\())"
    )
    begun = r"(?:\A|(?<=[.!?,:;\n-])\s*|\b(?:[Ss]o|[Tt]hen|[Hh]ence|[Tt]hus|[Tt]herefore),?\s+)"
    return re.compile(
        rf"(?:{so}{opened}(?P<so>{upper}){closed}"
        rf"|\((?P<sure>{upper})\)\s+is\s+(?:correct|right)"
        rf"|\b(?:left with|leav(?:es|ing)(?: us with)?)(?: only)?\s+{option}{opened}(?P<left>{upper}){closed}"
        rf"(?:\s+as\s+(?:{_ONLY}|(?:the|a)\s+(?:\w+\s+)?(?:answer|option|choice|possibility)))?"
        rf"|{begun}{option}{opened}(?P<right>{unlike_words}){closed}\s+"
        rf"(?:is\s+(?:correct|right|left)|remains|is\s+{_ONLY}(?:\s+(?:left|remaining|that\s+{_FITS}))?)"
        rf"|{begun}(?:I\s+(?:think|believe|guess)\s+)?(?:[Ii]t|[Tt]his|[Tt]hat)"
        r"(?:['’]s|\s+is|(?:\s+(?:must|should|would|can only|has to)|['’]d)\s+be)\s+"
        rf"{opened}(?P<it>{unlike_words}){closed}"
        rf"|{begun}{option}{opened}(?P<chosen>{upper}){closed}\s+it\s+is"
        rf"|(?<![Nn]ot )(?<![Ii]f )\b[Oo]nly\s+{option}{opened}(?P<only>{upper}){closed}\s+{_FITS}[^.!?\n]{{0,30}})"
        r"[\s.*!]*\Z"
    )


def _left(upper: str) -> re.Pattern[str]:
    """The pattern of last words that leave an option: all but D are wrong; neither A nor B, so C; the only one is D."""
    opened, closed, option = _MARKS
    return re.compile(
        rf"(?:\b(?:[Aa]ll|[Ee]very(?:thing)?|[Ee]ach)\b[^.!?\n]{{0,25}}?\b{_BUT}{option}{opened}(?P<rest>{upper}){closed}\s+"
        r"(?:is|are|(?:can|could|must)(?:\s+\w+)?\s+be)\s+(?:\w+\s+)?"
        r"(?:wrong|incorrect|false|invalid|impossible|ruled out|eliminated|excluded|dismissed)\b[^.!?\n]{0,30}"
        rf"|\b[Nn](?:one|o|othing)\b[^.!?\n]{{0,25}}?\b{_BUT}{option}{opened}(?P<none>{upper}){closed}\s+{_FITS}[^.!?\n]{{0,30}}"
        rf"|(?:\b(?:[Nn]either|[Nn]ot|[Ee]liminat\w+|[Rr]ul(?:ed|ing) out|wrong|incorrect)|n['’]t)\b[^.!?\n]{{0,60}}?"
        rf"\b(?:so|hence|thus|therefore|gives|but)\b,?\s+{option}{opened}(?P<other>{upper}){closed}"
        r"|\b(?:[Ee]limination[,:]|only\s+(?:\w+\s+)?(?:option|choice|one|possibility)(?:\s+left)?\s+is"
        rf"|[Mm]y\s+(?:choice|pick)(?:['’]s|\s+is|:)|(?:I['’]d|would)\s+say|going\s+with)\s+"
        rf"{option}{opened}(?P<by>{upper}){closed})[\s.*!]*\Z"
    )


_patterns = lru_cache(_Patterns)


class _Reader:
    """One text, and what it states."""

    def __init__(self, text: str, ended: bool, patterns: _Patterns, options: Options) -> None:
        self._text, self._ended, self._patterns = text, ended, patterns
        self._told = options

    @cached_property
    def _options(self) -> Mapping[str, str]:
        return self._told() if callable(self._told) else self._told

    def choice(self) -> str | None:
        """The letter of the statement that counts."""
        strong = sorted(self._strong())
        firm = [each for each in strong if not self._is_hypothetical(each)]
        if firm and not _WITHDRAWN.search(self._text, firm[0].end):  # nothing weak can take its place
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
        if len(strong) >= BARE_LIST and (_ENUMERATED.match(self._text) or not self._prose_outside(strong)):
            return strong[-1]
        for each in statements[1:]:
            if each.letter != held.letter:
                gap = self._text[seen : max(seen, each.start)][:GAP_CHARS]
                if held.letter == SEVERAL or self._replaces(gap, each):
                    held = each
                elif _BREAK.search(gap):
                    break
            if not each.weak or held is each:
                seen = max(seen, each.end)
        return held

    def _prose_outside(self, statements: list[Statement]) -> bool:
        """True where words stand before the last statement. A bare list answers each question of the prompt in turn."""
        text, at = "", 0
        for each in statements:
            text += self._text[at : each.start]
            at = max(at, each.end)
        return len(_PROSE.findall(text[:GAP_CHARS])) > len("The ") * len(statements)

    def _replaces(self, gap: str, later: Statement) -> bool:
        """True where the text between a statement and a later one takes the first back, or reasons on to the later."""
        own = self._text[max(0, later.start - 1) : later.end]
        turn = _BREAK.search(gap)
        before = gap[: turn.start()] if turn else gap
        if _WITHDRAWN.search(before + own if turn is None else before):
            return True
        if later.weak:
            return False
        head = _ANSWER_HEAD.search(gap + own)
        if head is not None:
            before = before[: head.start()]
        return turn is None and len(_PROSE.findall(before)) >= REASONING_CHARS

    def _strong(self) -> Iterator[Statement]:
        yield from self._named(_ANSWER)
        yield from self._named(_MARKED)
        patterns = [self._patterns.corrected]
        # few texts have these words, and a search for them takes less time than the patterns
        patterns += [self._patterns.instead] if any(words in self._text for words in _INSTEAD) else []
        patterns += [self._patterns.but] if " but " in self._text else []
        for pattern in patterns:
            for match in pattern.finditer(self._text):
                yield Statement(match.start(), match.end(), match["letter"])
        if self._ended:
            yield from self._last_line()

    def _named(self, heads: re.Pattern[str]) -> Iterator[Statement]:
        for match in heads.finditer(self._text):
            if found := self._letter_at(match.end()):
                yield Statement(match.start(), *found)

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
        match = None if patterns.listed.match(line_above) else patterns.alone.fullmatch(text, at)
        if match is None and (match := patterns.opening.match(text, at)):
            first = match["letter"].isupper() and (not at or line_above.rstrip("*_ ").endswith(":"))
            named = first or self._confirms(match["letter"].upper(), match["text"])
            match = match if named and not patterns.listed.match(line_above) else None
            start = end  # whatever else the text states comes before it
        if match:
            hedged = self._patterns.several.match(text, match.end("letter"))
            yield Statement(start, end, SEVERAL if hedged else match["letter"].upper())

    def _weak(self) -> Iterator[Statement]:
        yield from self._named(_CORRECT)
        for match in self._patterns.is_correct.finditer(self._text):
            yield Statement(match.start(), match.end(), match["letter"])
        if self._ended:
            yield from self._last_words()

    def _last_words(self) -> Iterator[Statement]:
        """The last line's own choice: "So option C.", "C is correct.", "it is (D) Broken valve.", "... is option H"."""
        text = self._text.rstrip()
        tail = text[max(text.rfind("\n") + 1, len(text) - STATEMENT_CHARS) :]
        at = len(text) - len(tail)
        end = tail[-LAST_WORDS:]
        match = self._patterns.last_word.search(end[-60:])
        if match is None and _LEAVES.search(end):
            match = self._patterns.left.search(end)
        if match:
            yield Statement(len(text) - 1, len(text), next(filter(None, match.groups())))
        for match in self._patterns.last_is.finditer(tail):
            letter = match["wrapped"] or match["dotted"] or match["bare"]
            rest = match["rest"]
            closes = not _SENTENCE.search(rest.removeprefix(".").lstrip()) and not self._patterns.other.search(rest)
            named = match["wrapped"] or match["option"] or self._confirms(letter, rest)
            if closes and (named or (match["dotted"] and not self._options)):
                yield Statement(at + match.start(), at + match.start("rest"), letter)

    def _letter_at(self, at: int) -> tuple[int, str] | None:
        """End and letter of the option named at a position, behind markup and filler words."""
        match = self._patterns.letter.match(self._text, at)
        if not match:
            return None
        lead, letter, rest = match.group("lead", "letter", "rest")
        end = match.end("letter")
        wrapped = any(c in lead for c in "({[<")
        if not wrapped and any(c in lead for c in _QUOTES):
            rest = rest.lstrip(_QUOTES)
        if letter.isupper() and self._patterns.run.match(rest):
            return end, SEVERAL  # "the answer is (CDF)"
        if not (_CLOSED if wrapped else _BARE).match(rest):
            return None
        if letter.islower() and wrapped and "\n" in lead:
            return None  # "(a)" opens a part
        if letter.islower() and not wrapped and not _is_lower_option(letter, rest, self._text[at - 1 : at]):
            return None
        if not wrapped and self._is_name(letter, rest, in_sentence=self._text[at - 1 : at] not in ":\n"):
            return None
        return end, SEVERAL if self._patterns.several.match(rest) else letter.upper()

    def _is_name(self, letter: str, rest: str, *, in_sentence: bool) -> bool:
        """True for the letter of a name or a sentence: "B lymphocytes", "H. pylori", "A number between 1 and 2"."""
        named = _NAME.match(rest) or (in_sentence and _ABBREVIATION.match(rest))
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
        sentence = _SENTENCE.split(before)[-1]
        return _HYPOTHETICAL.search(sentence) is not None

    def _is_denied(self, statement: Statement) -> bool:
        return _DENIED.search(self._text[statement.end : statement.end + DENIAL_CHARS]) is not None


def _is_lower_option(letter: str, rest: str, before: str) -> bool:
    """True where a small letter ends its line; "a" and "i" only after a colon: "the answer is a ..." breaks off."""
    return bool(_LINE_ENDS.match(rest)) and (letter not in "ai" or before == ":" or rest.startswith(")"))


def _normal(text: str) -> str:
    """The letters and digits of a text in small letters: what is left of an option whatever its markup."""
    return "".join(re.findall(r"\w", text.lower()))
