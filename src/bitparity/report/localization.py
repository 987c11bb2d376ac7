"""Localizations in words, as a table, as a picture of layers and module kinds, and as parts of both reports."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from jinja2 import Template
from markupsafe import Markup
from rich.console import Console

from bitparity.localization.document import Figure, Localization, Module, folder_of, load_localizations
from bitparity.report.language import Lang, share, suffix, text
from bitparity.report.templates import spoken, template
from bitparity.report.terminal import cells, columns, say
from bitparity.store.jsonl import write_atomically
from bitparity.store.run import Run

WORST, MOST_LAYERS = 10, 3  # modules in the table, layers in a sentence
COLUMNS = ("locate.module", "locate.error", "locate.through", "locate.regained")
_DARK, _LIGHT = (8, 48, 107), (247, 251, 255)  # its ends differ in lightness, so that it reads in grey


def sentences(found: Localization, lang: Lang = "en") -> list[str]:
    """The localization in sentences: the distance, whether a module stands out, what none explains, the recipe."""
    rule = text("locate.rule", lang, rule=found.rule)
    said = [
        text("locate.of", lang, found=found),
        text("locate.stands_out" if found.stands_out else "locate.none", lang, names=found.stands_out, rule=rule),
    ]
    if found.unexplained is not None:
        said.append(text("locate.unexplained", lang, share=found.unexplained))
    if layers := sorted(found.layers, key=lambda each: -each.regained.value)[:MOST_LAYERS]:
        named = [text("locate.layer", lang, layer=each) for each in layers]
        said.append(text("locate.layers", lang, layers=named, answers=found.sampled))
    if found.curve:
        points = [text("locate.point", lang, point=point) for point in found.curve]
        bent = [text("locate.bend", lang, point=each) if at == found.bend else each for at, each in enumerate(points)]
        said.append(text("locate.curve", lang, points=bent, answers=found.sampled))
    for key, spared in (("recipe", found.recipe), ("in_fp8", found.recipe and found.recipe.in_fp8)):
        if spared is not None:
            figures = {"count": len(spared.modules), "megabytes": spared.extra_bytes / 1e6}
            said.append(text(f"locate.{key}", lang, spared=spared, **figures))
    return said


def rows(found: Localization, lang: Lang = "en") -> list[tuple[str, ...]]:
    """The worst modules: name, local error, share by the gradient, share regained, in per cent."""
    return [
        (each.name, share(each.error, lang), share(each.through, lang), share(each.regained, lang))
        for each in worst(found.modules)
    ]


def worst(modules: Sequence[Module]) -> list[Module]:
    """The modules with the largest shares: what giving back regains where that was measured, else by the gradient."""
    shares = {each.name: each.regained or each.through or Figure(value=-1.0) for each in modules}
    return sorted(modules, key=lambda each: -shares[each.name].value)[:WORST]


def show(found: Localization, console: Console, lang: Lang = "en") -> None:
    """Print what was found, and the table, whose intervals are in the files."""
    for line in sentences(found, lang):
        say(console, line)
    if shown := worst(found.modules):
        title, *titles = (text(key, lang) for key in COLUMNS)
        table = columns({title: [each.name for each in shown]}, titles)
        for each in shown:
            figures = (each.error, each.through, each.regained)
            table.add_row(*cells(each.name, *(share(f and Figure(value=f.value)) for f in figures)))
        console.print(table)


def picture(found: Localization, lang: Lang = "en") -> str:
    """Layers across, module kinds down, dark where much of the distance goes through; SVG."""
    kinds = list(dict.fromkeys(each.kind for each in sorted(found.modules, key=lambda m: (m.layer is None, m.name))))
    layers = 1 + max((each.layer or 0 for each in found.modules), default=0)
    most = max((each.through.value for each in found.modules if each.through), default=0.0)
    squares = [
        (each.layer or 0, kinds.index(each.kind), _colour(each.through.value / most if most > 0 else 0.0), each)
        for each in found.modules
        if each.through is not None
    ]
    shown = {"found": found, "kinds": kinds, "layers": layers, "squares": squares, "most": most, "colour": _colour}
    return _template("localization.svg.j2").render(**shown, **spoken(lang, text))


def _colour(share: float) -> str:
    part = min(1.0, max(0.0, share))
    mixed = [round(light + part * (dark - light)) for light, dark in zip(_LIGHT, _DARK, strict=True)]
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def write_picture(run: Run, found: Localization, lang: Lang = "en") -> None:
    """Write the picture beside localization.json: layers.svg, layers.zh.svg in Chinese."""
    write_atomically(folder_of(run, found.candidate) / f"layers{suffix(lang)}.svg", [picture(found, lang)])


def html_part(run: Run, lang: Lang = "en") -> Markup:
    """The section of report.html; empty where nothing was localized."""
    return Markup(_part("localization.html.j2", run, lang))


def markdown_part(run: Run, escaped: Callable[[object], str], lang: Lang = "en") -> str:
    """The section of report.md, its texts made harmless by `escaped`; empty where nothing was localized."""
    return _part("localization.md.j2", run, lang, escaped)


def _part(name: str, run: Run, lang: Lang, escaped: Callable[[object], str] = str) -> str:
    found = load_localizations(run)
    if not found:
        return ""
    said = spoken(lang, text, sentences, rows, picture)
    return _template(name).render(
        localizations=found, COLUMNS=COLUMNS, as_is=Markup, escaped=escaped, suffix=suffix(lang), **said
    )


@functools.cache
def _template(name: str) -> Template:
    return template(__package__, name, autoescape=not name.endswith(".md.j2"), keep_trailing_newline=True)
