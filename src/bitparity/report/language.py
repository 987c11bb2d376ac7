"""Words of all reports, in English and in Chinese: one table, so that no language falls behind.

`text("scores", "zh")`, `text("points.margin", lang, value="2")`. Figures are formatted in `words` and put in here.
A guard's message is made in English where the guard looks, with the figures in it. In Chinese a report gives the
guard's name, what it means and what to do about it in Chinese, and then that message as it is: so no figure is
translated, read back from a sentence or lost. The same holds for the reason why a benchmark was not run.
"""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import Literal

Lang = Literal["en", "zh"]
LANGUAGES: tuple[Lang, ...] = ("en", "zh")


@functools.cache
def load_words(name: str, first: str = "en", second: str = "zh") -> dict[str, tuple[str, str]]:
    """The entries of a TOML file of this package (its path from report/), each as a pair of texts."""
    data = tomllib.loads((resources.files(__package__) / name).read_text(encoding="utf-8"))
    return {key: (entry[first], entry[second]) for key, entry in data.items()}


TEXTS = load_words("texts.toml")  # key -> (English, Chinese)

GUARDS = load_words("guards.zh.toml", "title", "meaning")  # name -> (title, meaning) in Chinese


def text(key: str, lang: Lang = "en", **figures: object) -> str:
    """The words under a key, with the figures filled in. Raises KeyError where key or figure is unknown."""
    return TEXTS[key][LANGUAGES.index(lang)].format(**figures)


def guard_title(name: str, lang: Lang = "en") -> str:
    """A guard's name as people read it."""
    if lang == "zh" and name in GUARDS:
        return GUARDS[name][0]
    return name.replace("_", " ")


def guard_message(name: str, message: str, lang: Lang = "en") -> str:
    """A guard's message; in Chinese after the guard's name and meaning."""
    if name not in GUARDS:
        return text("guard.unknown", lang, title=guard_title(name, lang), message=message)
    return text("guard", lang, title=guard_title(name, lang), meaning=GUARDS[name][1], message=message)
