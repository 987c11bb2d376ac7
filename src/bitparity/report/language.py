"""Words of all reports, in English and in Chinese: one table, so that no language falls behind.

`text("scores", "zh")`, `text("points.margin", lang, value="2")`. Figures are formatted in `words` and put in here.
A guard's message is made in English where the guard looks, with the figures in it. In Chinese the figures are taken
out of it by the template that made it, as the texts they are, and put into the Chinese template of the same key. A
message of another version, which fits no template, stands there as it is.
"""

from __future__ import annotations

import functools
import re
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
    said = _in_chinese(name, message)
    return text("guard.unknown", lang, message=message) if said is None else said


def reason(said: str | None, lang: Lang = "en") -> str:
    """A reason that was written down in English, in a language; as it is where no entry of reasons.toml makes it."""
    if said is None or lang == "en":
        return said or ""
    for english, chinese in load_words("reasons.toml").values():
        if (found := _pattern(english).fullmatch(said)) is not None:
            return chinese.format(**{name: _parts(part, lang) for name, part in found.groupdict().items()})
    return said


def _parts(said: str, lang: Lang) -> str:
    """A figure of a reason, which may be a reason itself, or a list of some (no comma in brackets parts it)."""
    parts = re.split(r", (?![^()]*\))", said)
    translated = [reason(part, lang) for part in parts]
    if len(parts) > 1 and all(now != before for now, before in zip(translated, parts, strict=True)):
        return text("separator", lang).join(translated)
    return reason(said, lang)


def suffix(lang: Lang) -> str:
    """The part before the ending of the name of a file in a language, so that none replaces the English one."""
    return "" if lang == "en" else f".{lang}"


def _in_chinese(name: str, message: str, inside: str = "") -> str | None:
    """A message of a guard, or a part of one (not that under the key `inside`); None where no template made it."""
    for key, template in _messages().get(name, {}).items():
        if key != inside and (found := _pattern(template).fullmatch(message)) is not None:
            figures = {field: _figure(name, value, key) for field, value in found.groupdict().items()}
            return GUARDS[name][key].format(**figures)
    return None


def _figure(name: str, value: str, inside: str) -> str:
    """A figure of a message as it is; where it is made of parts of the message, these in Chinese."""
    if name == "prompt":  # what a benchmark notes on its own data
        return reason(value, "zh")
    parts = [_in_chinese(name, part, inside) for part in value.split("; ")]
    return "；".join(part for part in parts if part) if all(parts) else _plain_figure(value)


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


@functools.cache
def _messages() -> dict[str, dict[str, str]]:
    """The messages of the guards as they are made."""
    found: dict[str, dict[str, str]] = packaged_toml("bitparity.results.guards", "messages.toml")
    return found


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    """A pattern of what a template makes, with each of its figures as a group: as short as it can be, or long (!s)."""
    said, seen = "", set[str]()
    for literal, field, _, long in Formatter().parse(template):
        said += re.escape(literal)
        if field:
            said += f"(?P={field})" if field in seen else f"(?P<{field}>.*{'' if long else '?'})"
            seen.add(field)
    return re.compile(said, re.DOTALL)
