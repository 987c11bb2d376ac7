"""report.md: the answer first, then the table, what could be wrong, and what ran."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bitparity.report import code_execution, plots
from bitparity.report.graders import grader_rows
from bitparity.report.language import Lang, guard_message, text
from bitparity.report.plain import shortened
from bitparity.report.speed import gain, speed_known, speed_rows
from bitparity.report.words import (
    candidates,
    engine,
    interval,
    margin,
    noise,
    p_value,
    percent,
    points,
    score,
    sentence,
    verdict_words,
)
from bitparity.store.jsonl import write_atomically
from bitparity.store.run import Run

PLOTS = "plots"  # the folder of the plots, beside report.md
LONGEST = 20_000  # characters of one text


def render(results: Mapping[str, Any], lang: Lang = "en", pictures: Iterable[str] = ()) -> str:
    """The report as Markdown; `pictures` are the files in `plots/` that it shows."""
    shown = {name: f"![{text('plot.' + name.removesuffix('.svg'), lang)}]({PLOTS}/{name})" for name in pictures}
    parts = [
        f"# {text('title', lang, study=escaped(results['study']['name']))}",
        _answers(results, lang),
        shown.get("differences.svg", ""),
        f"## {text('scores_and_differences', lang)}",
        _scores(results, lang),
        shown.get("scores.svg", ""),
        _comparisons(results, lang),
        _speed(results, lang),
        _graders(results, lang),
        _subgroups(results, lang),
        code_execution.markdown(_measured(results), list(results["variants"]), lang, _table, escaped),
        _guards(results, lang),
        f"## {text('what_ran', lang)}",
        _variants(results, lang),
        _protocol(results, lang),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def write(run: Run, results: Mapping[str, Any], lang: Lang = "en") -> None:
    """Write report.md and its plots beside results.json."""
    drawn = plots.draw(results, lang)
    for name, picture in drawn.items():
        write_atomically(run.path / PLOTS / name, [picture])
    write_atomically(run.path / "report.md", [render(results, lang, drawn)])


def summary(results: Mapping[str, Any], lang: Lang = "en") -> str:
    """A short report for the summary page of a CI job: the answers, the scores, the verdicts, the errors."""
    guards = [guard for entry in _measured(results).values() for guard in entry["guards"]]
    errors = [line for level, line in _guard_lines(results, lang) if level == "error"]
    parts = [
        f"## {text('title', lang, study=escaped(results['study']['name']))}",
        _answers(results, lang),
        _scores(results, lang),
        _short_comparisons(results, lang),
        "\n".join(errors),
        text("counts", lang, errors=len(errors), warnings=len(guards) - len(errors)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _short_comparisons(results: Mapping[str, Any], lang: Lang) -> str:
    rows = [
        [escaped(bench), escaped(name), points(c["difference"]), interval(c["ci95"], lang=lang), _verdict(c, lang)]
        for bench, entry in _measured(results).items()
        for name, c in entry["comparisons"].items()
    ]
    return _table(_titles("benchmark|candidate|difference_points|interval|verdict", lang), rows) if rows else ""


def escaped(text: object) -> str:
    """Text that cannot break out of a table cell or become markup."""
    plain = " ".join(shortened(str(text), LONGEST).split())
    for mark in ("\\", "|", "<", "`", "[", "*", "_"):
        plain = plain.replace(mark, f"\\{mark}")
    return plain


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(header)
    lines = [head, ["---"] * len(head), *([*row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _measured(results: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry for name, entry in results["benchmarks"].items() if entry["status"] == "measured"}


def _titles(keys: str, lang: Lang) -> list[str]:
    return [text(key, lang) for key in keys.split("|")]


def _answers(results: Mapping[str, Any], lang: Lang) -> str:
    names = candidates(results)
    if not names:
        return text("one_variant", lang)
    gains = {name: escaped(gain(name, results, lang)) for name in names}
    said = [
        f"- **{escaped(sentence(name, results, lang))}**" + (f" {gains[name]}" if gains[name] else "") for name in names
    ]
    return "\n".join([*said, f"- {escaped(noise(results, lang))}"])


def _scores(results: Mapping[str, Any], lang: Lang) -> str:
    variants = list(results["variants"])
    rows = []
    for bench, entry in results["benchmarks"].items():
        if entry["status"] == "not_run":
            missing = [text("not_available", lang) for _ in variants]
            rows.append([escaped(bench), text("dash", lang), *missing, escaped(entry["reason"])])
            continue
        cells = [score(entry["scores"][name], lang) for name in variants]
        asked = f"{entry['items']}" + (f" × {entry['samples']}" if entry["samples"] > 1 else "")
        rows.append([escaped(bench), asked, *cells, escaped(_problems(entry, variants, lang))])
    return _table([*_titles("benchmark|items", lang), *map(escaped, variants), text("problems", lang)], rows)


def _problems(entry: Mapping[str, Any], variants: Iterable[str], lang: Lang) -> str:
    shares = [
        text(
            "problems.of",
            lang,
            name=name,
            cut_off=percent(s["cut_off"], lang=lang),
            no_answer=percent(s["no_answer"], lang=lang),
            unscored=s["unscored"],
        )
        for name in variants
        if (s := entry["scores"][name]) and (s["cut_off"] or s["no_answer"] or s["unscored"])
    ]
    return text("separator", lang).join(shares) or text("none", lang)


def _verdict(comparison: Mapping[str, Any], lang: Lang) -> str:
    return text("noise_floor", lang) if comparison.get("control") else f"**{verdict_words(comparison, lang)}**"


def _comparisons(results: Mapping[str, Any], lang: Lang) -> str:
    rows = []
    for bench, entry in _measured(results).items():
        for name, c in entry["comparisons"].items():
            rows.append(
                [
                    escaped(bench),
                    escaped(name),
                    points(c["difference"]),
                    interval(c["ci95"], lang=lang),
                    f"{c['lost']} / {c['gained']}",
                    p_value(c["p_value"]),
                    p_value(c["p_adjusted"]),
                    percent(c["recovery"], lang=lang),
                    margin(entry["margin"], lang),
                    _verdict(c, lang),
                ]
            )
    if not rows:
        return ""
    keys = "benchmark|candidate|difference_points|interval|lost_gained|p|p_holm|recovery|margin|verdict"
    return _table(_titles(keys, lang), rows) + "\n\n" + text("comparison_note", lang) + _overall(results, lang)


def _overall(results: Mapping[str, Any], lang: Lang) -> str:
    if all(len(entry["benchmarks"]) < 2 for entry in results["overall"].values()):
        return ""
    rows = [
        [
            escaped(name),
            str(len(o["benchmarks"])),
            points(o["difference"]),
            interval(o["ci95"], lang=lang),
            p_value(o["p_adjusted"]),
            percent(o["recovery"], lang=lang),
            _verdict(o, lang),
        ]
        for name, o in results["overall"].items()
    ]
    header = _titles("candidate|benchmarks|difference|interval|p_holm|recovery|verdict", lang)
    return f"\n\n### {text('all_benchmarks', lang)}\n\n" + _table(header, rows)


def _speed(results: Mapping[str, Any], lang: Lang) -> str:
    if not speed_known(results):
        return ""
    header = _titles("variant|tokens_per_second|against_baseline|weights_gb|against_baseline", lang)
    table = _table(header, [map(escaped, row) for row in speed_rows(results, lang)])
    return f"### {text('speed', lang)}\n\n{table}\n\n{text('speed.note', lang)}"


def _graders(results: Mapping[str, Any], lang: Lang) -> str:
    rows = [
        [
            escaped(row.benchmark),
            f"**{escaped(row.metric)}**" if row.primary else escaped(row.metric),
            *(percent(mean, lang=lang) for mean in row.means),
        ]
        for row in grader_rows(results)
    ]
    if not rows:
        return ""
    header = [*_titles("benchmark|metric", lang), *map(escaped, results["variants"])]
    return f"### {text('graders', lang)}\n\n" + _table(header, rows) + "\n\n" + text("graders_note", lang)


def _subgroups(results: Mapping[str, Any], lang: Lang) -> str:
    variants = list(results["variants"])
    rows = [
        [
            escaped(bench),
            escaped(name),
            str(group["items"]),
            *(percent(group["means"][v], lang=lang) for v in variants),
        ]
        for bench, entry in _measured(results).items()
        for name, group in entry["subgroups"].items()
    ]
    if not rows:
        return ""
    header = [*_titles("benchmark|subgroup|items", lang), *map(escaped, variants)]
    return f"## {text('subgroups', lang)}\n\n" + _table(header, rows)


def _guards(results: Mapping[str, Any], lang: Lang) -> str:
    lines = [line for _, line in _guard_lines(results, lang)]
    if not lines:
        return ""
    parts = [f"## {text('what_to_doubt', lang)}", text("messages_note", lang), "\n".join(lines)]
    return "\n\n".join(part for part in parts if part)


def _guard_lines(results: Mapping[str, Any], lang: Lang) -> list[tuple[str, str]]:
    """Level and line of each guard that spoke."""
    return [
        (
            guard["level"],
            f"- **{text(guard['level'], lang)}**"
            + text("pause", lang)
            + escaped(bench)
            + (text("pause", lang) + escaped(guard["variant"]) if guard["variant"] else "")
            + text("colon", lang, name="", said=escaped(guard_message(guard["name"], guard["message"], lang))),
        )
        for bench, entry in _measured(results).items()
        for guard in entry["guards"]
    ]


def _variants(results: Mapping[str, Any], lang: Lang) -> str:
    rows = []
    for name, variant in results["variants"].items():
        role = "baseline" if variant["baseline"] else "control" if variant.get("control") else "candidate"
        rows.append(
            [escaped(name), text(role, lang), escaped(variant["model"]), escaped(engine(variant["engine"], lang))]
        )
    return _table(_titles("variant|role|model|engine_as_it_ran", lang), rows)


def _protocol(results: Mapping[str, Any], lang: Lang) -> str:
    study = results["study"]
    limits = ", ".join(f"{bench} {limit}" for bench, limit in study["limit"].items())
    said = text("protocol.limits", lang, limits=escaped(limits)) if limits else ""
    return text("protocol", lang, profile=escaped(study["profile"]), fingerprint=study["fingerprint"], limits=said)
