"""Words of report.html alone, in English and Chinese; all others are those of `bitparity.report.language`."""

from __future__ import annotations

from collections.abc import Mapping

from bitparity.report.language import LANGUAGES, TEXTS, Lang, text

PHRASES: Mapping[str, tuple[str, str]] = {
    "skip": ("Skip to the results", "跳到结果"),
    "sections": ("Sections", "章节"),
    "lead": (
        "Every variant sat the same exam. Differences are in points, with 95 % intervals.",
        "各版本答的是同一份试卷。差值以百分点计，附 95% 置信区间。",
    ),
    "answers": ("In short", "结论"),
    "table": ("Scores", "得分"),
    "table.caption": (
        "Score with its 95 % interval; below it the difference from the baseline in points with its 95 % interval, "
        "and the verdict.",
        "得分及其 95% 置信区间；其下为与基线之差（百分点）及其 95% 置信区间，以及结论。",
    ),
    "items_margin": ("{items} items, margin {margin}", "{items} 题，界值 {margin}"),
    "why_invalid": ("because of: {guards}", "原因：{guards}"),
    "all_comparisons": ("Every comparison in figures", "全部比较数据"),
    "forest": ("Differences", "差值"),
    "forest.note": (
        "Difference from the baseline in points: left of zero is a loss. The shaded band is the margin that was set "
        "before the run. A diamond marks a loss that is shown, a hollow circle the control, a cross a figure that a "
        "guard calls invalid.",
        "与基线之差（百分点），零的左侧为损失。阴影带是运行前设定的界值。菱形表示已证实的损失，空心圆表示对照，"
        "叉号表示被检查项判为无效的数据。",
    ),
    "plot": ("plot", "图"),
    "as_table": ("table", "表格"),
    "flips": ("Flips", "翻转"),
    "flips.note": (
        "Items right in the baseline and wrong in the candidate (lost, to the left) and the other way round (gained, "
        "to the right), as shares of the items. Dashed lines: what the control lost and gained, the noise floor.",
        "基线答对而候选答错的题（由对变错，向左）与相反的题（由错变对，向右），以占题数的比例表示。"
        "虚线：对照的翻转，即噪声基底。",
    ),
    "lost": ("lost", "由对变错"),
    "gained": ("gained", "由错变对"),
    "flips_axis": ("share of the items", "占题数的比例"),
    "tokens_log": ("output tokens (log)", "输出 token 数（对数）"),
    "flips_share": ("flipped", "翻转比例"),
    "rates": ("Cut off, no answer", "截断与无答案"),
    "rates.note": (
        "A cut-off answer ended at the token budget. No answer: the text states none that can be read. Unscored "
        "samples failed for a reason of ours and count neither way.",
        "截断：回答用尽 token 预算。无答案：文本中读不出答案。未评分：因评测系统自身原因失败，不计对错。",
    ),
    "cut_off": ("cut off", "截断"),
    "no_answer": ("no answer", "无答案"),
    "unscored": ("unscored", "未评分"),
    "lengths": ("Length of the answers", "回答长度"),
    "lengths.note": (
        "Output tokens of each completion, the same logarithmic scale within a benchmark; the line is the median. "
        "Heights are square roots of counts, so that a tower of cut-off answers does not flatten the rest.",
        "每条输出的 token 数，同一基准内用同一对数刻度；竖线为中位数。"
        "柱高为数量的平方根，以免截断处的高柱压平其余部分。",
    ),
    "distribution": ("distribution", "分布"),
    "median": ("median", "中位数"),
    "p90": ("90th percentile", "第 90 百分位"),
    "longest": ("longest", "最长"),
    "warnings": ("Warnings: {count}", "警告：{count} 条"),
    "guards_none": ("No guard spoke.", "没有检查项报警。"),
    "all_variants": ("all variants", "所有版本"),
    "metrics": ("Other graders on the same completions", "同一批输出的其他判分"),
    "metrics.note": (
        "Mean by every grader; the primary one decides the score above.",
        "各判分器的平均分；主判分器决定上面的得分。",
    ),
    "primary": ("primary", "主指标"),
    "all_facts": ("All facts as recorded", "全部记录"),
    "fingerprint": ("study fingerprint", "研究指纹"),
    "profile": ("profile", "协议配置"),
    "limits": ("limits", "题数上限"),
    "data": ("Data", "数据"),
    "fact": ("fact", "项目"),
    "value": ("value", "值"),
    "earlier": ("earlier engines of this variant", "该版本先前的引擎"),
    "subgroups.note": (
        "Means only: the margin is set for the whole benchmark, so single subgroups get no verdict.",
        "仅列平均分：界值针对整个基准设定，单个子类不下结论。",
    ),
    "rates_over_items": ("over several items", "按多题合计"),
    "platform": ("platform", "平台"),
    "reason": ("reason", "原因"),
    "files": (
        "Everything here was made from the files of the run: prompts in exam/, raw completions in samples/, every "
        "verdict in grades/, all figures in results.json.",
        "本页由运行目录中的文件生成：提示词见 exam/，模型原始输出见 samples/，逐题判分见 grades/，"
        "全部数据见 results.json。",
    ),
    # the flip browser; these go to the script
    "browser": ("Flip browser", "翻转浏览器"),
    "browser.note": (
        "Every item with what the baseline and a candidate wrote. Choose one with the arrow keys.",
        "逐题查看基线与候选版本的输出。可用方向键选择。",
    ),
    "browser.noscript": (
        "The flip browser needs JavaScript; all else on this page does not.",
        "翻转浏览器需要 JavaScript。",
    ),
    "browser.left_out": (
        "{count} items had no room in this file and are left out here; they lie in samples/ and grades/.",
        "有 {count} 题因文件大小限制未收录，可在 samples/ 与 grades/ 中查看。",
    ),
    "filters": ("Filters", "筛选"),
    "change": ("change", "变化"),
    "change.flips": ("lost or gained", "发生翻转"),
    "change.all": ("all items", "全部题目"),
    "both_right": ("right in both", "均答对"),
    "both_wrong": ("wrong in both", "均答错"),
    "change.unscored": ("not comparable", "不可比较"),
    "all": ("all", "全部"),
    "status": ("status", "状态"),
    "answered": ("answered", "已作答"),
    "infrastructure_error": ("infrastructure error", "系统错误"),
    "missing": ("not answered yet", "尚未作答"),
    "search": ("Search id, question, reference, answers", "搜索编号、题目、参考答案、回答"),
    "found": ("{count} of {total} pairs of item and candidate", "{count} / {total}（题目 × 候选版本）"),
    "nothing": ("Nothing matches these filters.", "没有符合条件的题目。"),
    "loading": ("Unpacking …", "正在解压…"),
    "unsupported": (
        "This browser cannot unpack compressed data (DecompressionStream); a current one can.",
        "此浏览器不支持 DecompressionStream，请使用较新的浏览器。",
    ),
    "item": ("Item", "题目"),
    "question": ("Question", "题目"),
    "reference": ("Reference", "参考答案"),
    "sample": ("sample", "第几次采样"),
    "previous": ("Previous", "上一题"),
    "next": ("Next", "下一题"),
    "right": ("right", "对"),
    "wrong": ("wrong", "错"),
    "read": ("answer read", "读出的答案"),
    "nothing_read": ("none", "无"),
    "tokens": ("tokens", "token 数"),
    "finish": ("ended by", "结束方式"),
    "completion": ("completion", "输出"),
    "same_up_to": (
        "Grey: the same in both up to there. Marked: the last place where the text has the answer that was read.",
        "灰色：双方到此完全相同。高亮：文本中最后一次出现读出的答案之处。",
    ),
    "cut": ("… {count} characters left out …", "…… 略去 {count} 个字符 ……"),
    "full_text": ("Full text: {path}, item {item}, sample {sample}", "全文：{path}，题目 {item}，采样 {sample}"),
    "no_text": ("No text.", "无文本。"),
    "withheld.asked": (
        "This page was made without questions and answers. They lie in the run's exam/ and samples/.",
        "本页不含题目与回答，它们保存在运行目录的 exam/ 与 samples/ 中。",
    ),
    "withheld.gated": (
        "Questions and answers of a gated data set stay out of this page. bitparity report RUN --include-gated puts "
        "them in, for a page that you do not pass on.",
        "受限数据集的题目与回答不收入本页。bitparity report RUN --include-gated 可将其收入，但该页面请勿外传。",
    ),
}
SCRIPT_KEYS = tuple(PHRASES)[tuple(PHRASES).index("browser") :]


def say(key: str, lang: Lang, **figures: object) -> str:
    """The page's words under a key, filled in. Raises KeyError where it is unknown."""
    if key in PHRASES:
        return PHRASES[key][LANGUAGES.index(lang)].format(**figures)
    return text(key, lang, **figures)


def script_phrases(lang: Lang) -> dict[str, str]:
    """The unfilled phrases of the flip browser, which fills them itself."""
    place = LANGUAGES.index(lang)
    own = (*SCRIPT_KEYS, "lost", "gained", "cut_off", "no_answer", "unscored")
    shared = ("benchmark", "candidate", "subgroup", "baseline", "control", "none")
    return {key: PHRASES[key][place] for key in own} | {key: TEXTS[key][place] for key in shared}
