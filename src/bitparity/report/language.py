"""Words of all reports, in English and in Chinese: one table, so that no language falls behind.

`text("scores", "zh")`, `text("effect.range", lang, bench="aime24", name="fp8", interval=bounds)`. Fractions become
points and per cent here and nowhere else: a text names its figures and, after a colon, how each is written.
Messages of guards, reasons, errors and lines of the terminal are made in English where they arise, with the figures
in them. In Chinese the figures are taken out by the template that made the message, as the texts they are, and put into
the Chinese template; words among them are translated likewise, a single word is a name and stays. Of several templates
that fit, the wordiest holds. A message of another version, which fits no template, stands there as it is.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from string import Formatter
from typing import TYPE_CHECKING, Any, Literal

from bitparity.inputs.packaged import packaged_toml

if TYPE_CHECKING:
    from bitparity.distance.schema import Estimate
    from bitparity.localization.document import Figure

Lang = Literal["en", "zh"]
LANGUAGES: tuple[Lang, ...] = ("en", "zh")


@functools.cache
def load_words(name: str) -> dict[str, tuple[str, str]]:
    """The entries of a TOML file of this package (its path from report/), each as a pair of texts."""
    data = packaged_toml(__package__, name)
    return {key: (entry["en"], entry["zh"]) for key, entry in data.items()}


TEXTS = load_words("texts.toml")  # key -> (English, Chinese)

# patterns of a figure that is a list, and of parts of any figure -> the Chinese in their place
_PATTERNS: dict[str, dict[str, str]] = packaged_toml(__package__, "chinese.toml")

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
    return filled(TEXTS[key], lang, figures)


def filled(pair: tuple[str, str], lang: Lang, figures: Mapping[str, object]) -> str:
    """The text of a pair in a language, with the figures filled in."""
    template = pair[LANGUAGES.index(lang)]
    # Python's own way is the faster one
    return _FILLERS[lang].vformat(template, (), figures) if _is_special(template) else template.format(**figures)


def percent(value: float | None, lang: Lang = "en") -> str:
    """A fraction as a percentage; a dash where there is none."""
    return text("dash", lang) if value is None else text("percent", lang, value=hundredths(value))


def hundredths(value: float, lang: Lang = "en") -> str:
    """A fraction in per cent, without the sign for it."""
    return f"{100 * value:.1f}"


def points(value: float | None, lang: Lang = "en") -> str:
    """A difference in points with its sign."""
    # a true minus sign: a hyphen may break the line after it
    return "–" if value is None else f"{100 * value:+.1f}".replace("-", "−")


def interval(bounds: Sequence[float] | None, lang: Lang = "en", written: Callable[[float], str] = points) -> str:
    """An interval, in points unless its ends are written otherwise; a dash where there is none."""
    if bounds is None:
        return text("dash", lang)
    low, high = map(written, bounds)
    return text("range", lang, low=low, high=high)


def margin(value: float, lang: Lang = "en") -> str:
    """A margin in points."""
    return text("one_point" if value == 0.01 else "points", lang, value=f"{round(100 * value, 2):g}")


def loss(value: float, lang: Lang = "en") -> str:
    """A loss in points, without a sign."""
    return text("points", lang, value=f"{100 * value:.1f}")


def duration(hours: float, lang: Lang = "en") -> str:
    """A time, below an hour in minutes."""
    key = "hours" if hours >= 1 else "minutes" if hours >= 1 / 60 else "soon"
    return text(f"time.{key}", lang, hours=hours, minutes=60 * hours)


def p_value(value: float | None, lang: Lang = "en") -> str:
    """A p-value as people write it."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def number(value: float, lang: Lang = "en") -> str:
    """A figure of any size with three digits."""
    return f"{value:.3g}" if value == 0 or abs(value) >= 1e-4 else f"{value:.1e}"


def hours(value: float, lang: Lang = "en") -> str:
    """Hours as a plan has them."""
    return f"{value:.1f}" if value >= 0.1 else f"{value:.2f}"


def small_loss(value: float, lang: Lang = "en") -> str:
    """A loss in points, a small one with two digits."""
    return text("points", lang, value=f"{100 * value:.2g}" if value < 0.1 else f"{100 * value:.1f}")


def tokens(value: float | None, lang: Lang = "en") -> str:
    """A number of tokens with one decimal of its unit."""
    if value is None:
        return "?"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f}"


def estimate(found: Estimate | Figure | None, lang: Lang = "en", written: Callable[[float], str] = number) -> str:
    """A measured figure with its interval, where it has one; a dash where there is none."""
    if found is None:
        return text("dash", lang)
    said = written(found.value)
    return said if found.ci95 is None else beside(said, interval(found.ci95, lang, written), lang)


def beside(said: str, more: str, lang: Lang = "en") -> str:
    """A figure or name with more on it in brackets."""
    return text("score_and_interval", lang, score=said, interval=more)


def ratio(found: Estimate, lang: Lang = "en") -> str:
    """A ratio near 1 with its interval, to four decimals."""
    return estimate(found, lang, "{:.4f}".format)


def share(found: Figure | None, lang: Lang = "en") -> str:
    """A share in per cent with its interval, without the sign for it; a dash where there is none."""
    return estimate(found, lang, hundredths)


def listed(names: Iterable[object], lang: Lang = "en") -> str:
    """Names as a list in a sentence."""
    return text("comma", lang).join(map(str, names))


def parted(said: Iterable[str], lang: Lang = "en") -> str:
    """Statements after one another in one sentence."""
    return text("separator", lang).join(said)


def guards(names: Iterable[str], lang: Lang = "en") -> str:
    """Guards by their titles, each once."""
    return listed([guard_title(name, lang) for name in dict.fromkeys(names)], lang)


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


# how a text may want a figure written: `{difference:points}`
_WRITTEN: Mapping[str, Callable[[Any, Lang], str]] = {
    function.__name__: function
    for function in (
        *(percent, hundredths, points, interval, margin, loss, duration, p_value, number, estimate, ratio, share),
        *(hours, small_loss, tokens, listed, parted, guard_title, guards, reason),
    )
}


class _Filler(Formatter):
    """Puts figures into texts of one language, written as the text wants: see `_WRITTEN`, or `100*.1f` for a multiple.

    Anything else after the colon is Python's own format.
    """

    def __init__(self, lang: Lang) -> None:
        self._lang: Lang = lang

    def format_field(self, value: Any, format_spec: str) -> str:
        """The figure as text."""
        if (written := _WRITTEN.get(format_spec)) is not None:
            return written(value, self._lang)
        factor, times, written_as = format_spec.rpartition("*")
        return format(float(factor) * value if times else value, written_as)


@functools.cache
def _is_special(template: str) -> bool:
    """True where a figure is written as Python alone cannot."""
    return any(spec and (spec in _WRITTEN or "*" in spec) for *_, spec, _ in Formatter().parse(template))


_FILLERS: Mapping[Lang, _Filler] = {lang: _Filler(lang) for lang in LANGUAGES}


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
    for splitter, joiner in _PATTERNS["lists"].items():
        parts = re.split(splitter, said)
        if len(parts) > 1 and all(told := [translated(part) or "" for part in parts]):
            return joiner.join(told)
    return translated(said)


def _plain_figure(value: str) -> str:
    """Percentages and lists of differing settings, as `results.guards.facts` writes them, in the Chinese way."""
    for pattern, chinese in _PATTERNS["figures"].items():
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
