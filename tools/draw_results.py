"""Draws the picture of the README: each candidate's difference with its interval and the margin, as one SVG.

python tools/draw_results.py artifacts/demo/results.json docs/demo.svg
"""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path
from typing import Any

from bitparity.report.words import interval, percent, points, verdict_words

WIDTH, ROW, TOP, LEFT, RIGHT = 860, 46, 64, 190, 250
INK, FAINT, GOOD, BAD, OPEN = "#1f2328", "#d0d7de", "#1a7f37", "#cf222e", "#9a6700"


def rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a benchmark and candidate."""
    found = []
    for bench, entry in results["benchmarks"].items():
        for name, comparison in entry.get("comparisons", {}).items():
            baseline = next(v for v, about in results["variants"].items() if about["baseline"])
            before, after = (percent(entry["scores"][v]["mean"]) for v in (baseline, name))
            title, scores = f"{bench}: {name}", f"{before} → {after}"
            found.append({"title": title, "scores": scores, "margin": entry["margin"], **comparison})
    return found


def colour(row: dict[str, Any]) -> str:
    """Red for a loss that is shown, green for none beyond the margin, amber where the run cannot tell."""
    if row["loss_shown"]:
        return BAD
    return GOOD if row["verdict"] in ("equivalent", "non_inferior") else OPEN


def draw(results: dict[str, Any]) -> str:
    """The SVG."""
    found = rows(results)
    low = min(min(r["ci95"][0], -r["margin"]) for r in found)
    high = max(max(r["ci95"][1], r["margin"]) for r in found)
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)

    def x(value: float) -> float:
        return round(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    height = TOP + ROW * len(found) + 34
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="14">',
        f"<title>{escape(results['study']['name'])}: difference to the baseline in points, 95 % intervals</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff" rx="8"/>',
        f'<text x="20" y="30" font-weight="600" fill="{INK}">Difference to the baseline, points (95 % interval)</text>',
        f'<line x1="{x(0)}" x2="{x(0)}" y1="{TOP - 16}" y2="{height - 26}" stroke="{INK}"/>',
        f'<text x="{x(0)}" y="{height - 8}" text-anchor="middle" fill="{INK}">0</text>',
    ]
    for index, row in enumerate(found):
        y, (start, end) = TOP + ROW * index + 12, row["ci95"]
        left, right, middle = x(-row["margin"]), x(row["margin"]), x(row["difference"])
        out += [
            f'<rect x="{left}" y="{y - 15}" width="{right - left:.1f}" height="30" fill="{FAINT}" opacity="0.6"/>',
            f'<text x="20" y="{y - 2}" font-weight="600" fill="{INK}">{escape(row["title"])}</text>',
            f'<text x="20" y="{y + 15}" font-size="12" fill="{INK}">{escape(row["scores"])}</text>',
            f'<line x1="{x(start)}" x2="{x(end)}" y1="{y}" y2="{y}" stroke="{colour(row)}" stroke-width="3"/>',
            f'<circle cx="{middle}" cy="{y}" r="6" fill="{colour(row)}"/>',
            f'<text x="{WIDTH - RIGHT + 14}" y="{y - 2}" fill="{INK}">{points(row["difference"])} '
            f"({interval(row['ci95'])})</text>",
            f'<text x="{WIDTH - RIGHT + 14}" y="{y + 15}" font-size="12" fill="{colour(row)}">'
            f"{escape(verdict_words(row))}</text>",
        ]
    out.append(f'<text x="20" y="{height - 8}" font-size="12" fill="{INK}">grey: the margin</text></svg>')
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:3])
    target.write_text(draw(json.loads(source.read_text(encoding="utf-8"))), encoding="utf-8")
