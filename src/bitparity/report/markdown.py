"""report.md: the answer first, then the table, what could be wrong, and what ran."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bitparity.report import plots
from bitparity.report.language import Lang, guard_message, text
from bitparity.report.plain import shortened
from bitparity.report.tables import gain, grader_rows, program_rows, speed_rows
from bitparity.report.words import engine, figures, margin, noise, percent, score, sentence, verdict_words
from bitparity.results.schema import Benchmark, Comparison, Overall, Results
from bitparity.store.jsonl import write_atomically
from bitparity.store.run import Run

PLOTS = "plots"  # the folder of the plots, beside report.md
LONGEST = 20_000  # characters of one text


def render(results: Results, lang: Lang = "en", pictures: Iterable[str] = ()) -> str:
    """The report as Markdown; `pictures` are the files in `plots/` that it shows."""
    shown = {name: f"![{text('plot.' + name.removesuffix('.svg'), lang)}]({PLOTS}/{name})" for name in pictures}
    parts = [
        f"# {text('title', lang, study=escaped(results.study.name))}",
        _answers(results, lang),
        shown.get("differences.svg"),
        f"## {text('scores_and_differences', lang)}",
        _scores(results, lang),
        shown.get("scores.svg"),
        _comparisons(results, lang),
        _overall(results, lang),
        _speed(results, lang),
        _graders(results, lang),
        _subgroups(results, lang),
        _programs(results, lang),
        _guards(results, lang),
        _variants(results, lang),
        _protocol(results, lang),
    ]
    return _joined(*parts) + "\n"


def write(run: Run, results: Results, lang: Lang = "en") -> None:
    """Write report.md and its plots beside results.json."""
    drawn = plots.draw(results, lang)
    for name, picture in drawn.items():
        write_atomically(run.path / PLOTS / name, [picture])
    write_atomically(run.path / "report.md", [render(results, lang, drawn)])


def summary(results: Results, lang: Lang = "en") -> str:
    """A short report for the summary page of a CI job: the answers, the scores, the verdicts, the errors."""
    guards = _guard_lines(results, lang)
    errors = [line for level, line in guards if level == "error"]
    rows = [
        [escaped(bench), escaped(name), *figures(c, "difference_points interval", lang), _verdict(c, lang)]
        for bench, entry in results.measured.items()
        for name, c in entry.comparisons.items()
    ]
    parts = [
        f"## {text('title', lang, study=escaped(results.study.name))}",
        _answers(results, lang),
        _scores(results, lang),
        _table(_titles("benchmark candidate difference_points interval verdict", lang), rows),
        "\n".join(errors),
        text("counts", lang, errors=len(errors), warnings=len(guards) - len(errors)),
    ]
    return _joined(*parts) + "\n"


def escaped(text: object) -> str:
    """Text that cannot break out of a table cell or become markup."""
    plain = " ".join(shortened(str(text), LONGEST).split())
    # the backslash first, or it would escape the escapes; a pipe ends a cell and "<" opens HTML
    for mark in ("\\", "|", "<", "`", "[", "*", "_"):
        plain = plain.replace(mark, f"\\{mark}")
    return plain


def _joined(*parts: str | None) -> str:
    return "\n\n".join(part for part in parts if part)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], heading: str = "", note: str = "") -> str:
    """A table below its heading, with a note below; empty without rows."""
    if not rows:
        return ""
    lines = [header, ["---"] * len(header), *rows]
    return _joined(heading, "\n".join(f"| {' | '.join(line)} |" for line in lines), note)


def _titles(keys: str, lang: Lang, variants: Iterable[str] = ()) -> list[str]:
    """The titles of columns: words under their keys, then the variants' names."""
    return [*(text(key, lang) for key in keys.split()), *map(escaped, variants)]


def _answers(results: Results, lang: Lang) -> str:
    if not results.candidates:
        return text("one_variant", lang)
    said = [
        f"- **{escaped(sentence(name, results.benchmarks, lang))}** {escaped(gain(name, results, lang))}".rstrip()
        for name in results.candidates
    ]
    return "\n".join([*said, f"- {escaped(noise(results, lang))}"])


def _scores(results: Results, lang: Lang) -> str:
    rows = []
    for bench, entry in results.benchmarks.items():
        if not entry.measured:
            missing = [text("not_available", lang) for _ in results.variants]
            rows.append([escaped(bench), text("dash", lang), *missing, escaped(entry.reason)])
            continue
        cells = [score(entry.scores[name], lang) for name in results.variants]
        asked = f"{entry.items}" + (f" × {entry.samples}" if entry.samples > 1 else "")
        rows.append([escaped(bench), asked, *cells, escaped(_problems(entry, lang))])
    return _table([*_titles("benchmark items", lang, results.variants), text("problems", lang)], rows)


def _problems(entry: Benchmark, lang: Lang) -> str:
    shares = []
    for name, s in entry.scores.items():
        if s.cut_off or s.no_answer or s.unscored:
            said = {"cut_off": percent(s.cut_off, lang), "no_answer": percent(s.no_answer, lang)}
            shares.append(text("problems.of", lang, name=name, unscored=s.unscored, **said))
    return text("separator", lang).join(shares) or text("none", lang)


def _verdict(comparison: Comparison | Overall, lang: Lang) -> str:
    said = verdict_words(comparison, lang)
    return said if comparison.control else f"**{said}**"


def _comparisons(results: Results, lang: Lang) -> str:
    keys = "difference_points interval lost_gained p p_holm recovery"
    rows = [
        [escaped(bench), escaped(name), *figures(c, keys, lang), margin(entry.margin, lang), _verdict(c, lang)]
        for bench, entry in results.measured.items()
        for name, c in entry.comparisons.items()
    ]
    header = _titles(f"benchmark candidate {keys} margin verdict", lang)
    return _table(header, rows, note=text("comparison_note", lang))


def _overall(results: Results, lang: Lang) -> str:
    # one benchmark pooled is that benchmark again
    if all(len(pooled.benchmarks) < 2 for pooled in results.overall.values()):
        return ""
    keys = "benchmarks difference interval p_holm recovery"
    rows = [
        [escaped(name), *figures(pooled, keys, lang), _verdict(pooled, lang)]
        for name, pooled in results.overall.items()
    ]
    return _table(_titles(f"candidate {keys} verdict", lang), rows, f"### {text('all_benchmarks', lang)}")


def _speed(results: Results, lang: Lang) -> str:
    header = _titles("variant tokens_per_second against_baseline weights_gb against_baseline", lang)
    rows = [list(map(escaped, row)) for row in speed_rows(results, lang)]
    return _table(header, rows, f"### {text('speed', lang)}", text("speed.note", lang))


def _graders(results: Results, lang: Lang) -> str:
    rows = []
    for row in grader_rows(results):
        metric = f"**{escaped(row.metric)}**" if row.primary else escaped(row.metric)
        rows.append([escaped(row.benchmark), metric, *(percent(mean, lang) for mean in row.means)])
    header = _titles("benchmark metric", lang, results.variants)
    return _table(header, rows, f"### {text('graders', lang)}", text("graders_note", lang))


def _subgroups(results: Results, lang: Lang) -> str:
    rows = [
        [escaped(bench), escaped(name), str(part.items), *(percent(part.means[v], lang) for v in results.variants)]
        for bench, entry in results.measured.items()
        for name, part in entry.subgroups.items()
    ]
    header = _titles("benchmark subgroup items", lang, results.variants)
    return _table(header, rows, f"## {text('subgroups', lang)}")


def _programs(results: Results, lang: Lang) -> str:
    rows = [list(map(escaped, row)) for row in program_rows(results, lang)]
    header = _titles("benchmark variant sandbox program_verdicts rates", lang)
    return _table(header, rows, f"## {text('code_execution', lang)}")


def _guards(results: Results, lang: Lang) -> str:
    lines = "\n".join(line for _, line in _guard_lines(results, lang))
    return _joined(f"## {text('what_to_doubt', lang)}", text("messages_note", lang), lines) if lines else ""


def _guard_lines(results: Results, lang: Lang) -> list[tuple[str, str]]:
    """Level and line of each guard that spoke."""
    lines: list[tuple[str, str]] = []
    for bench, entry in results.measured.items():
        for guard in entry.guards:
            where = [f"**{text(guard.level, lang)}**", escaped(bench), escaped(guard.variant or "")]
            said = escaped(guard_message(guard.name, guard.message, lang))
            line = text("colon", lang, name=text("pause", lang).join(filter(None, where)), said=said)
            lines.append((guard.level, f"- {line}"))
    return lines


def _variants(results: Results, lang: Lang) -> str:
    rows = [
        [escaped(name), text(variant.role, lang), escaped(variant.model), escaped(engine(variant.engine, lang))]
        for name, variant in results.variants.items()
    ]
    header = _titles("variant role model engine_as_it_ran", lang)
    return _table(header, rows, f"## {text('what_ran', lang)}")


def _protocol(results: Results, lang: Lang) -> str:
    study = results.study
    limits = ", ".join(f"{bench} {limit}" for bench, limit in study.limit.items())
    said = text("protocol.limits", lang, limits=escaped(limits)) if limits else ""
    return text("protocol", lang, profile=escaped(study.profile), fingerprint=study.fingerprint, limits=said)
