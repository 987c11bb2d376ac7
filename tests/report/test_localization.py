"""Sections on localizations: what they say in both languages, and that no name breaks out of the markup."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bitparity.localization.document import FILE, Figure, InFp8, Layer, Localization, Module, Point, Recipe, Rule
from bitparity.report.language import LANGUAGES, Lang, share
from bitparity.report.localization import html_part, markdown_part, picture, rows, sentences, worst
from bitparity.report.markdown import escaped
from bitparity.store.jsonl import write_json
from bitparity.store.run import Run


def figure(value: float) -> Figure:
    return Figure(value=value, ci95=(value - 0.1, value + 0.1))


def module(number: int, share: float, regained: float | None = None) -> Module:
    return Module(
        name=f"model.layers.{number}.mlp.down<proj>|",
        layer=number,
        kind="mlp.down<proj>|",
        bytes_baseline=200,
        bytes_candidate=60,
        error=figure(0.3),
        through=figure(share),
        regained=None if regained is None else figure(regained),
        at_least=regained,
    )


def document(standing: bool = True) -> Localization:
    modules = [module(0, 0.6, 0.5), module(1, 0.1, 0.7), *(module(n, 0.01) for n in range(2, 14))]
    return Localization(
        **{"study": "s", "baseline": "bf16", "candidate": "nvfp4", "models": {}, "kernels": "checkpoint"},
        **{"answers": 64, "sampled": 16, "tokens": 1000, "divergence": figure(0.2)},
        stands_out=[modules[1].name] if standing else [],
        rule=Rule(least_share=0.2, error_rate=0.05, modules=14, tested=2),
        **{"best": modules[1].name, "unexplained": figure(0.3), "modules": modules, "bend": 1},
        curve=[
            Point(modules=[modules[n].name], share_of_bytes=share, extra_bytes=1, regained=figure(regained))
            for n, (share, regained) in enumerate([(0.05, 0.21), (0.15, 0.64)])
        ],
        layers=[Layer(layer=n, folded=False, through=None, regained=figure(n / 100)) for n in range(14)],
        recipe=Recipe(
            **{"modules": [modules[1].name], "share_of_bytes": 0.1, "extra_bytes": 2_000_000, "regained": figure(0.55)},
            **{"llm_compressor_ignore": ["lm_head", modules[1].name], "modelopt_quant_cfg": {}},
            in_fp8=InFp8(modules=["a", "b"], share_of_bytes=0.149, extra_bytes=1_700_000, regained=figure(0.73)),
        ),
        seconds=1.0,
    )


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_sentences_say_what_was_found(lang: Lang) -> None:
    said = "\n".join(sentences(document(), lang))
    for figures in (
        "down<proj>|",
        "20",
        "30.0",
        "55.0",
        "10.0",
        "2.0",
        "21",
        "5.0",
        "64",
        "15.0",
        "14.9",
        "1.7",
        "73.0",
    ):
        assert figures in said
    bends = "64 % for 15.0 % (here the curve bends)" if lang == "en" else "15.0% 挽回 64%（曲线在此转折）"
    assert bends in said
    quiet = "\n".join(sentences(document(standing=False), lang))
    assert quiet != said
    assert ("No module stands out" if lang == "en" else "没有突出的模块") in quiet


def test_what_was_measured_orders_before_the_gradient() -> None:
    found = worst(document().modules)
    assert [each.layer for each in found[:2]] == [1, 0]
    assert len(found) == len(rows(document())) == 10
    assert not any(character.isdigit() for character in share(None))


def test_the_picture_is_xml_with_a_frame_for_what_stands_out() -> None:
    drawn = picture(document())
    ElementTree.fromstring(drawn)
    assert drawn.count("#d55e00") == 1
    assert picture(document(standing=False)).count("#d55e00") == 0
    assert drawn.count("<circle") == 2


def test_the_parts_of_the_reports_keep_names_as_text(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert html_part(run) == markdown_part(run, escaped) == ""
    (tmp_path / "localization" / "nvfp4").mkdir(parents=True)
    write_json(tmp_path / "localization" / "nvfp4" / FILE, document().document())
    page, markdown = html_part(run), markdown_part(run, escaped)
    assert "down<proj>" not in page
    assert "down&lt;proj&gt;|" in page
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(table) == 12
    assert all(line.replace("\\|", "").count("|") == 5 for line in table)
