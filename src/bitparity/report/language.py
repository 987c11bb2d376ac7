"""Words of all reports, in English and in Chinese: one table, so that no language falls behind.

`text("scores", "zh")`, `text("points.margin", lang, value="2")`. Figures are formatted in `words` and put in here.
Messages of guards, reasons, errors and lines of the terminal are made in English where they arise, with the figures
in them. In Chinese the figures are taken out by the template that made the message, as the texts they are, and put into
the Chinese template; words among them are translated likewise, a single word is a name and stays. Of several templates
that fit, the wordiest holds. A message of another version, which fits no template, stands there as it is.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from string import Formatter
from typing import Literal

from bitparity.safe_io.packaged import packaged_toml

Lang = Literal["en", "zh"]
LANGUAGES: tuple[Lang, ...] = ("en", "zh")


@functools.cache
def load_words(name: str) -> dict[str, tuple[str, str]]:
    """The entries of a TOML file of this package (its path from report/), each as a pair of texts."""
    data = packaged_toml(__package__, name)
    return {key: (entry["en"], entry["zh"]) for key, entry in data.items()}


TEXTS = load_words("texts.toml")  # key -> (English, Chinese)

_LISTS = {r"; also: ": "；另外：", r"; ": "；", r", (?![^()]*\))": "；"}  # what parts a list -> the same in Chinese

_NUMBER = r"-?[\d.,]+(?:e[+-]?\d+)?|-?inf|nan"
_NARROW = dict.fromkeys(["count", "of", "line", "hours", "minutes", "seconds"], _NUMBER) | {
    "free": r"[\d.,]+ \S+",
    "word": r"\S+",
}

# the messages of the guards as they are made, read only where Chinese is asked for
_messages = functools.cache(functools.partial(packaged_toml, "bitparity.results.guards", "messages.toml"))

# guard -> its title in Chinese, and its messages by the keys of results/guards/messages.toml
GUARDS: dict[str, dict[str, str]] = packaged_toml(__package__, "guards.zh.toml")


def text(key: str, lang: Lang = "en", **figures: object) -> str:
    """The words under a key, with the figures filled in. Raises KeyError where key or figure is unknown."""
    return TEXTS[key][LANGUAGES.index(lang)].format(**figures)


def guard_title(name: str, lang: Lang = "en") -> str:
    """A guard's name as people read it."""
    if lang == "zh" and name in GUARDS:
        return GUARDS[name]["title"]
    return name.replace("_", " ")


def guard_message(name: str, message: str, lang: Lang = "en") -> str:
    """A guard's message; as it is, with a word that says so, where no template of this version made it."""
    if lang == "en":
        return message
    return _guard_in_chinese(name, message) or text("guard.unknown", lang, message=message)


def reason(said: str | None, lang: Lang = "en") -> str:
    """A reason, an error or a line that was written in English, in a language; unchanged where no entry makes it."""
    if said is None or lang == "en":
        return said or ""
    return _in_chinese(said) or said


def suffix(lang: Lang) -> str:
    """The part before the ending of the name of a file in a language, so that none replaces the English one."""
    return "" if lang == "en" else f".{lang}"


@functools.lru_cache(4096)
def _in_chinese(said: str) -> str | None:
    """A reason or an error in Chinese, also behind the place that it is told of; None where no entry makes it."""
    if said.startswith("error: "):
        return text("colon", "zh", name=text("error", "zh"), said=reason(said[len("error: ") :], "zh"))
    if (found := _matched(_reasons(), said, lambda part: _parts(part, _in_chinese) or part)) is not None:
        return found
    place, colon, rest = said.partition(": ")
    told = _parts(rest, _in_chinese) if colon else None
    return told and text("colon", "zh", name=place, said=told)


def _guard_in_chinese(name: str, message: str) -> str | None:
    """A message of a guard, or a part of one; None where no template made it."""
    if name == "prompt":  # what a benchmark notes on its own data
        return reason(message, "zh")
    templates = _messages().get(name, {})
    pairs = sorted(((templates[key], GUARDS[name][key]) for key in templates), key=_wordiness)
    part_of = functools.partial(_guard_in_chinese, name)
    return _matched(pairs, message, lambda part: _parts(part, part_of) or _plain_figure(part))


def _matched(pairs: Iterable[tuple[str, str]], said: str, figure: Callable[[str], str]) -> str | None:
    """The Chinese of the first pair whose English makes a text, its figures put in; None where none does.

    One with clean figures comes before one without.
    """
    possible = [pair for pair in pairs if all(map(said.__contains__, _literals(pair[0])))]
    made = [(*pair, found.groupdict()) for pair in possible if (found := _pattern(pair[0]).fullmatch(said))]
    for _, chinese, figures in sorted(made, key=lambda each: not _is_clean(each[0], each[2])):
        return chinese.format(**{name: figure(value) for name, value in figures.items()})
    return None


def _parts(said: str, translated: Callable[[str], str | None]) -> str | None:
    """A figure that is words itself, or a list of such (no comma in brackets parts it); None where it is a name."""
    if " " not in said:
        return None
    for splitter, joiner in _LISTS.items():
        parts = re.split(splitter, said)
        if len(parts) > 1 and all(told := [translated(part) or "" for part in parts]):
            return joiner.join(told)
    return translated(said)


def _plain_figure(value: str) -> str:
    """Percentages and lists of differing settings, as `results.guards.facts` writes them, in the Chinese way."""
    for pattern, chinese in (
        (r"(?<=\d) %", "%"),
        (r"; and (\d+) more$", r"；另有 \1 项"),
        (r"not given(?= against |;|；|$)", "未给出"),
        (r"(?<=%) against (?=[\d.]+%)", "、"),
        (r" against ", " 对 "),
    ):
        value = re.sub(pattern, chinese, value)
    return value


def _is_clean(english: str, figures: dict[str, str]) -> bool:
    """True where every figure has both brackets or none, and none at the beginning holds the start of the sentence."""
    first = re.match(r"\{(\w+)\}", english)
    whole = not any(set("()") & set(re.sub(r"\([^()]*\)", "", value)) for value in figures.values())
    return whole and not (first and ": " in figures[first[1]])


@functools.cache
def _reasons() -> list[tuple[str, str]]:
    """Templates of reasons and errors in English and Chinese, the wordiest first."""
    errors: dict[str, str] = packaged_toml(__package__, "errors.zh.toml")
    return sorted([*load_words("reasons.toml").values(), *errors.items()], key=_wordiness)


def _wordiness(pair: tuple[str, str]) -> int:
    """Orders templates: that with most letters beside its figures first, where a figure counts against it."""
    return sum(5 - 4 * len(literal) for literal in _literals(pair[0]))


@functools.cache
def _literals(template: str) -> tuple[str, ...]:
    """The parts of a template between its figures."""
    return tuple(literal for literal, *_ in Formatter().parse(template))


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    """A pattern of what a template makes, with each of its figures as a group: as short as it can be, or long (!s).

    A figure whose name is in `_NARROW` is a number, a size or a name: no words of another program look like that.
    """
    said, seen = "", set[str]()
    for literal, field, _, long in Formatter().parse(template):
        said += re.escape(literal)
        if field:
            any_text = f".*{'' if long else '?'}"
            said += f"(?P={field})" if field in seen else f"(?P<{field}>{_NARROW.get(field, any_text)})"
            seen.add(field)
    return re.compile(said, re.DOTALL)
