"""report.html as text: results, distributions of lengths and the flip browser's data put into the template."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jinja2 import Template
from markupsafe import Markup

from bitparity.report import headline, language, tables, words
from bitparity.report.distance import Scale as LogScale
from bitparity.report.distance import log_scale, rows, sentences
from bitparity.report.html import svg
from bitparity.report.html.book import Book, Packed
from bitparity.report.html.svg import Scale
from bitparity.report.language import LANGUAGES, TEXTS, Lang
from bitparity.report.plain import flat
from bitparity.report.tables import Disagreements
from bitparity.report.templates import packaged_text, spoken, template
from bitparity.results.schema import Benchmark, Results

BINS = 36
PHRASES = language.load_words("html/phrases.toml")  # key -> (English, Chinese)
SCRIPT_KEYS = tuple(PHRASES)[tuple(PHRASES).index("browser") :]
MOST_ROWS = 200  # rows of one table of subgroups or guards


def count(value: float) -> str:
    """A number of things, with thousands apart."""
    return f"{value:,.0f}"


class Lengths(NamedTuple):
    """Lengths of a variant's completions: counts in bins, the median's place in per cent, tokens."""

    bins: list[int]
    place: float
    median: str
    p90: str
    longest: str


def length_scale(by_variant: Mapping[str, Sequence[int]]) -> Scale:
    """The scale of all lengths of a benchmark: from the logarithm of the shortest to that of the longest."""
    ends = [end for tokens in by_variant.values() if len(tokens) for end in (min(tokens), max(tokens))]
    low = max(1, min(ends, default=1))
    # lengths span three powers of ten, from a letter to a long reasoning: hence logarithms
    return Scale(math.log(low), math.log(max([low + 1, *ends])) + 1e-9)


def length_ticks(on: Scale) -> list[int]:
    """Round numbers of tokens on that scale: 1, 2 and 5 times the powers of ten, at most six; else its ends."""
    low, high = math.exp(on.low), math.exp(on.high)
    powers = [10**power for power in range(int(on.high / math.log(10)) + 1)]
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [factor * power for power in powers for factor in factors if low <= factor * power <= high]
        if len(found) <= 6:
            break
    # lengths that hardly differ have no two round numbers between them
    return found if len(found) > 1 else [math.ceil(low - 1e-6), math.floor(high + 1e-6)]


def length_rows(by_variant: Mapping[str, Sequence[int]]) -> dict[str, Lengths]:
    """The distribution of each variant's lengths, all on one logarithmic scale; variants without any stay out."""
    found = {name: np.asarray(tokens) for name, tokens in by_variant.items() if len(tokens)}
    on = length_scale(by_variant)
    low = round(math.exp(on.low))
    edges = np.linspace(on.low, on.high, BINS + 1)
    rows = {}
    for name, tokens in found.items():
        logs = np.log(np.maximum(tokens, low))
        median, p90 = (float(np.percentile(tokens, share)) for share in (50, 90))
        place = on.at(math.log(max(median, low)))
        bins = [int(n) for n in np.histogram(np.clip(logs, on.low, on.high), edges)[0]]
        rows[name] = Lengths(bins, place, count(median), count(p90), count(int(tokens.max())))
    return rows


def say(key: str, lang: Lang, **figures: object) -> str:
    """The page's words under a key, filled in. Raises KeyError where it is unknown."""
    return language.filled(PHRASES.get(key) or TEXTS[key], lang, figures)


def script_phrases(lang: Lang) -> dict[str, str]:
    """The unfilled phrases of the flip browser, which fills them itself."""
    place = LANGUAGES.index(lang)
    own = (*SCRIPT_KEYS, "lost", "gained", "cut_off", "no_answer", "unscored")
    shared = ("benchmark", "candidate", "subgroup", "baseline", "control", "none")
    return {key: PHRASES[key][place] for key in own} | {key: TEXTS[key][place] for key in shared}


# what the template says in the language of the page
_SAID = (
    *(say, tables.card, tables.doubts, tables.doubt_count, tables.glossary, headline.headlines, rows, sentences),
    *(tables.speed_rows, tables.program_rows),
    *(language.guard_message, language.reason, language.percent, language.margin, language.guards),
    *(words.score_beside, words.difference, words.figures, words.verdict_words),
    *(words.noise, words.short_noise, words.engine),
)


def render(
    results: Results, book: Book, packed: Packed, lang: Lang = "en", apart: Disagreements = (), localized: str = ""
) -> str:
    """The whole page as HTML.

    The disagreements stand below the answers, `localized` is the section on where distances come from.
    """
    lengths = {bench: found for bench in results.measured if (found := length_rows(book.lengths.get(bench, {})))}
    shown = {"results": results, "book": book, "packed": packed, "lengths": lengths, "localized": localized}
    shown |= {"phrases": json_in_script(script_phrases(lang)), "lang": "zh-Hans" if lang == "zh" else "en"}
    return _template().render(disagreements=apart, **shown, **_scales(results), **spoken(lang, *_SAID))


def load() -> None:
    """Read and compile the templates, which `render` would do otherwise."""
    _template()
    svg.plots()


def json_in_script(value: object) -> Markup:
    """JSON that is safe inside a script element: no character of it can end the element or open a comment."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    # "</script" and "<!--" have a meaning to the HTML parser even inside a string of JSON
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)


@functools.cache
def _template() -> Template:
    style, script = (Markup(packaged_text(__package__, f"page.{ending}")) for ending in ("css", "js"))
    # base64 goes in as it is: no character of it means anything in HTML
    known = {"style": style, "script": script, "as_is": Markup, "svg": svg.plots().module, "most": MOST_ROWS}
    asked = (count, differences, digest, distance_axis, flat, graders, length_axis, log_scale, strip_end, svg.ticks)
    return template(__package__, "page.html.j2", {**known, "tone": words.tone, **{f.__name__: f for f in asked}})


def digest(text: str) -> str:
    """A style sheet's or script's hash, as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _scales(results: Results) -> dict[str, object]:
    """The scales of the plots, with what lies on them: all comparisons, the valid ones, those over benchmarks."""
    compared = [(c, entry.margin) for entry in results.measured.values() for c in entry.comparisons.values()]
    pooled = {name: pooled for name, pooled in results.overall.items() if len(pooled.benchmarks) > 1}
    # what a guard forbids stands at the edge: its interval must not squeeze those that count
    valid = [(c, margin) for c, margin in compared if c.verdict != "invalid"]
    bounds = [bound for c, margin in valid for bound in (*c.ci95, -margin, margin)]
    bounds += [bound for each in pooled.values() for bound in each.ci95]
    flips = [count / c.items for c, _ in valid or compared for count in (c.lost, c.gained)]
    most_flips = max([*flips, 0.001]) * 1.05
    scales = {"scale": svg.scale(bounds), "most_flips": most_flips, "flip_scale": Scale(-most_flips, most_flips)}
    variants = results.variants.values()
    scales |= {"fastest": max(v.tokens_per_second or 0.0 for v in variants)}
    scales |= {"largest": max(v.weights_gb or 0.0 for v in variants)}
    return {**scales, "compared": compared, "valid": valid, "pooled": pooled}


def distance_axis(on: LogScale) -> Markup:
    """Nats a token, in powers of ten."""
    return svg.plot("axis", on, lambda value: f"1e{round(math.log10(value))}", on.decades)


def length_axis(by_variant: Mapping[str, Sequence[int]]) -> Markup:
    """Tokens, on the logarithmic scale of a benchmark's distributions."""
    on = length_scale(by_variant)
    return svg.plot("axis", on, lambda value: count(math.exp(value)), list(map(math.log, length_ticks(on))))


def strip_end(entry: Benchmark) -> float:
    """The right end of the strips of a benchmark: the highest mean, rounded up to tenths."""
    means = [mean for group in entry.subgroups.values() for mean in group.means.values() if mean is not None]
    return max(1, math.ceil(10 * max(means, default=1.0) - 1e-9)) / 10


def differences(name: str, results: Results) -> list[tuple[int, float]]:
    """The valid differences of a variant, each with the number of its benchmark."""
    found = ((number, entry.comparisons.get(name)) for number, entry in enumerate(results.measured.values()))
    return [(number, c.difference) for number, c in found if c is not None and c.verdict != "invalid"]


def graders(results: Results) -> list[tables.GraderRow]:
    """Every grader's means where a benchmark has more than one, by the names of the graders."""
    order = list(results.measured)
    return sorted(tables.grader_rows(results), key=lambda row: (order.index(row.benchmark), row.metric))
