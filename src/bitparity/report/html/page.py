"""The page: results.json and the flip browser's data put into the template."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from bitparity.report import speed, words
from bitparity.report.html import figures, svg
from bitparity.report.html.book import Book, Packed
from bitparity.report.html.phrases import say, script_phrases
from bitparity.report.language import Lang, guard_message, guard_title
from bitparity.report.plain import finalize, flat

_Quantity = Callable[[Mapping[str, Any]], float | None]  # of a variant
MOST_ROWS = 200  # rows of one table of subgroups or guards


def render(results: Mapping[str, Any], book: Book, packed: Packed, lang: Lang = "en") -> str:
    """The whole page as HTML."""
    style, script = _file("page.css"), _file("page.js")
    shown = _View(results, book, lang)
    page: str = _template().render(
        view=shown,
        results=results,
        packed=packed,
        lang="zh-Hans" if lang == "zh" else "en",
        t=functools.partial(say, lang=lang),
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        phrases=json_in_script(script_phrases(lang)),
        as_is=Markup,  # base64: no character of it means anything in HTML
    )
    return page


def load() -> None:
    """Read and compile the template, which `render` would do otherwise."""
    _template()


def json_in_script(value: Any) -> Markup:
    """JSON that is safe inside a script element: no character of it can end the element or open a comment."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)


def _file(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


@functools.cache
def _template() -> Any:
    environment = Environment(
        autoescape=True, finalize=finalize, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_file("page.html.j2"))


def _policy(style: str, script: str) -> str:
    """A content security policy that allows this style sheet and this script and nothing else, no request above all."""
    own, look = (_digest(text) for text in (script, style))
    rules = (
        "default-src 'none'",
        f"script-src '{own}'",
        f"style-src '{look}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
    )
    return "; ".join(rules)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


class _View:
    """What the template asks for: figures in words, plots, tones."""

    def __init__(self, results: Mapping[str, Any], book: Book, lang: Lang) -> None:
        self.results = results
        self.book = book
        self.lang: Lang = lang
        self.variants: list[str] = list(results["variants"])
        self.benchmarks: Mapping[str, Any] = results["benchmarks"]
        self.measured = {name: e for name, e in self.benchmarks.items() if e["status"] == "measured"}
        self.baseline = next(name for name, v in results["variants"].items() if v["baseline"])
        self.control = next((name for name, v in results["variants"].items() if v.get("control")), None)
        compared = [(c, e["margin"]) for e in self.measured.values() for c in e["comparisons"].values()]
        self.compared = bool(compared)
        self.pooled = {n: o for n, o in results["overall"].items() if len(o["benchmarks"]) > 1}
        bounds = [b for c, margin in compared for b in (*c["ci95"], -margin, margin)]
        bounds += [bound for o in self.pooled.values() for bound in o["ci95"]]
        self._scale = svg.scale(bounds)
        flips = [c[side] / c["items"] for c, _ in compared for side in ("lost", "gained")]
        self._most_flips = max([*flips, 0.001]) * 1.05

    # figures in words

    def percent(self, value: float | None) -> str:
        return words.percent(value, lang=self.lang)

    def points(self, value: float | None) -> str:
        return words.points(value)

    def interval(self, bounds: Sequence[float] | None) -> str:
        return words.interval(bounds, lang=self.lang)

    def difference(self, comparison: Mapping[str, Any]) -> str:
        """A difference with its interval."""
        return say(
            "score_and_interval",
            self.lang,
            score=words.points(comparison["difference"]),
            interval=self.interval(comparison["ci95"]),
        )

    def score(self, found: Mapping[str, Any]) -> str:
        return words.score(found, self.lang)

    def margin(self, value: float) -> str:
        return words.margin(value, self.lang)

    def p_value(self, value: float | None) -> str:
        return words.p_value(value)

    def engine(self, facts: Mapping[str, Any] | None) -> str:
        return words.engine(facts, self.lang)

    def verdict(self, comparison: Mapping[str, Any]) -> str:
        if comparison.get("control"):
            return say("noise_floor", self.lang)
        return words.verdict_words(comparison, self.lang)

    def tone(self, comparison: Mapping[str, Any]) -> str:
        """The look of a verdict: loss, fine, open, invalid or control."""
        if comparison.get("control"):
            return "control"
        if comparison["verdict"] == "invalid":
            return "invalid"
        if comparison["loss_shown"]:
            return "loss"
        return "fine" if comparison["verdict"] in ("equivalent", "non_inferior") else "open"

    def invalid_by(self, comparison: Mapping[str, Any]) -> str:
        names = dict.fromkeys(comparison.get("invalid_by") or ())
        titles = [guard_title(name, self.lang) for name in names]
        return say("why_invalid", self.lang, guards=say("comma", self.lang).join(titles)) if titles else ""

    def sentences(self) -> list[tuple[str, str, str, str]]:
        """For each candidate its name, what is said after it, the gravest tone among its verdicts, and its gain."""
        found = []
        for name in words.candidates(self.results):
            said = words.sentence(name, self.results, self.lang)
            rest = said.removeprefix(name)
            tones = {self.tone(e["comparisons"][name]) for e in self.measured.values() if name in e["comparisons"]}
            order = ("loss", "open", "fine", "invalid")
            tone = next((tone for tone in order if tone in tones), "open")
            found.append((name if rest != said else "", rest, tone, self.gain(name)))
        return found

    def noise(self) -> str:
        return words.noise(self.results, self.lang)

    def role(self, name: str) -> str:
        key = "baseline" if name == self.baseline else "control" if name == self.control else "candidate"
        return say(key, self.lang)

    def asked(self, entry: Mapping[str, Any]) -> str:
        """Items, samples an item and margin."""
        items = figures.count(entry["items"]) + (f" × {entry['samples']}" if entry["samples"] > 1 else "")
        return say("items_margin", self.lang, items=items, margin=self.margin(entry["margin"]))

    def limits(self) -> str:
        return say("comma", self.lang).join(f"{name} {n}" for name, n in self.results["study"]["limit"].items())

    # plots

    def forest_row(self, comparison: Mapping[str, Any], margin: float) -> Markup:
        return svg.interval_row(comparison, margin, self._scale)

    def forest_axis(self) -> Markup:
        return svg.axis(self._scale, lambda value: f"{100 * value:+g}".replace("-", "−") if value else "0")

    def flips_axis(self) -> Markup:
        """Shares of the items, to the left and to the right."""
        both = svg.Scale(-self._most_flips, self._most_flips)
        return svg.axis(both, lambda value: self.percent(abs(value)) if abs(value) > 1e-9 else "0")

    def length_axis(self, bench: str) -> Markup:
        """Tokens, on the logarithmic scale of a benchmark's distributions."""
        on = figures.length_scale(self.book.lengths[bench])
        return svg.axis(on, lambda value: figures.count(math.exp(value)), map(math.log, figures.length_ticks(on)))

    def flips_row(self, entry: Mapping[str, Any], comparison: Mapping[str, Any]) -> Markup:
        noise = entry["comparisons"].get(self.control)
        return svg.flips_row(comparison, noise, self._most_flips)

    def bar(self, share: float | None) -> Markup:
        return svg.bar(share)

    def strip(self, group: Mapping[str, Any], most: float) -> Markup:
        return svg.strip([(group["means"][name], name == self.control) for name in self.variants], most)

    def strip_end(self, entry: Mapping[str, Any]) -> float:
        """The right end of the strips of a benchmark: the highest mean, rounded up to tenths."""
        means = [mean for group in entry["subgroups"].values() for mean in group["means"].values() if mean is not None]
        return max(1, math.ceil(10 * max(means, default=1.0) - 1e-9)) / 10

    def key(self, name: str) -> Markup:
        """The variant's mark in a strip."""
        shape, class_ = svg.series(self.variants.index(name), name == self.control)
        return svg.tag("svg", svg.mark(shape, 50, 8, class_), class_="key", width=16, height=16, aria_hidden="true")

    def gain(self, name: str) -> str:
        return speed.gain(name, self.results, self.lang)

    def speed_rows(self) -> list[speed.SpeedRow]:
        return list(speed.speed_rows(self.results, self.lang))

    def speed_known(self) -> bool:
        return speed.speed_known(self.results)

    def scatters(self) -> list[tuple[str, Markup]]:
        """For each benchmark its scores against tokens a second and against the size of the weights.

        Only where two variants or more have the figure.
        """
        quantities: list[tuple[str, _Quantity, Callable[[float], str]]] = [
            ("tokens_per_second", speed.rate, figures.count),
            ("weights_gb", speed.weights_gb, lambda value: f"{value:.3g}"),
        ]
        plots = []
        for bench, entry in self.measured.items():
            for key, quantity, number in quantities:
                spots = [spot for name in self.variants if (spot := self._spot(name, entry, quantity)) is not None]
                if len(spots) > 1:
                    label = say(key, self.lang)
                    plots.append((bench, svg.scatter(spots, bench, label, self.percent, number)))
        return plots

    def _spot(self, name: str, entry: Mapping[str, Any], quantity: _Quantity) -> svg.Spot | None:
        place, score = quantity(self.results["variants"][name]), entry["scores"][name]
        if place is None or score["mean"] is None or score["ci95"] is None:
            return None
        comparison = entry["comparisons"].get(name)
        tone = "fine" if comparison is None else self.tone(comparison)
        shape = "square" if name == self.baseline else {"loss": "diamond", "invalid": "cross"}.get(tone, "circle")
        kind = tone if tone in ("loss", "control", "invalid") else "plain"
        low, high = score["ci95"]
        return svg.Spot(name, place, score["mean"], low, high, shape, kind)

    def lengths(self, bench: str) -> list[tuple[str, figures.Lengths, Markup]]:
        """Each variant's distribution of lengths."""
        rows = figures.length_rows(self.book.lengths.get(bench, {}))
        return [(name, row, svg.histogram(row.bins, row.place)) for name, row in rows.items()]

    # tables

    def metrics(self, entry: Mapping[str, Any]) -> list[str]:
        """Every grader's name."""
        return sorted({name for score in entry["scores"].values() for name in score.get("metrics") or {}})

    def other_metrics(self) -> dict[str, list[str]]:
        """The benchmarks with more than one grader."""
        found = {bench: self.metrics(entry) for bench, entry in self.measured.items()}
        return {bench: names for bench, names in found.items() if len(names) > 1}

    def programs(self) -> list[tuple[str, str, str, str, str]]:
        """For benchmarks that run code: benchmark, variant, sandbox, how programs ended, rates over several items."""
        rows = []
        for bench, entry in self.measured.items():
            for name in self.variants if "verdicts" in entry else ():
                ends = [f"{verdict.replace('_', ' ')} {number}" for verdict, number in entry["verdicts"][name].items()]
                rates = [f"{k.replace('_', ' ')} {self.percent(share)}" for k, share in entry["rates"][name].items()]
                level = (entry["execution"][name] or {}).get("level", "")
                rows.append((bench, name, level, "; ".join(ends), "; ".join(rates)))
        return rows

    def platforms(self) -> dict[str, Any]:
        """The scores by platform of the benchmarks that have several."""
        return {bench: entry["platforms"] for bench, entry in self.measured.items() if entry.get("platforms")}

    def subgroups(self, entry: Mapping[str, Any]) -> list[tuple[str, Any]]:
        return list(entry["subgroups"].items())[:MOST_ROWS]

    def guards(self, level: str) -> list[dict[str, str]]:
        """The guards of one level."""
        return [
            {
                "bench": bench,
                "variant": guard["variant"] or say("all_variants", self.lang),
                "level": guard["level"],
                "level_words": say(guard["level"], self.lang),
                "title": guard_title(guard["name"], self.lang),
                "message": guard_message(guard["name"], guard["message"], self.lang),
            }
            for bench, entry in self.measured.items()
            for guard in entry["guards"][:MOST_ROWS]
            if guard["level"] == level
        ]

    def facts(self, name: str) -> list[tuple[str, str]]:
        """All that is known of how a variant ran."""
        variant = self.results["variants"][name]
        return (
            flat({"revision": variant.get("revision"), "engine": variant.get("engine")})
            + flat(variant.get("identity") or {}, "checkpoint")
            + flat(variant.get("generation") or {}, "generation")
            + flat(variant.get("earlier_engines") or [], say("earlier", self.lang))
        )

    def data(self, entry: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Where a benchmark's items came from."""
        return flat({"metric": entry["metric"], "available": entry.get("available"), "data": entry.get("data")})
