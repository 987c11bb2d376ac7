"""Words of all reports, in English and in Chinese: one table, so that no language falls behind.

`text("scores", "zh")`, `text("points.margin", lang, value="2")`. Figures are formatted in `words` and put in here.
A guard's message is made in English where the guard looks, with the figures in it. In Chinese a report gives the
guard's name, what it means and what to do about it in Chinese, and then that message as it is: so no figure is
translated, read back from a sentence or lost. The same holds for the reason why a benchmark was not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Lang = Literal["en", "zh"]
LANGUAGES: tuple[Lang, ...] = ("en", "zh")

# key -> (English, Chinese); {names} are filled in by `text`
TEXTS: Mapping[str, tuple[str, str]] = {
    # verdicts
    "equivalent": ("equivalent", "等效"),
    "non_inferior": ("no loss beyond the margin", "损失未超出界值"),
    "worse_within_margin": ("worse, within the margin", "变差，但未超出界值"),
    "worse_beyond_margin": ("worse, beyond the margin", "变差，且超出界值"),
    "inconclusive": ("cannot tell", "无法判定"),
    "invalid": ("invalid", "无效"),
    "worse_size_unclear": ("worse, size unclear", "变差，幅度不明"),
    # figures
    "percent": ("{value} %", "{value}%"),
    "range": ("{low} to {high}", "{low} 至 {high}"),
    "score_and_interval": ("{score} ({interval})", "{score}（{interval}）"),
    "one_point": ("{value} point", "{value} 个百分点"),
    "points": ("{value} points", "{value} 个百分点"),
    "not_available": ("N/A", "N/A"),
    "dash": ("–", "–"),
    # sentences
    "colon": ("{name}: {said}", "{name}：{said}"),
    "separator": ("; ", "；"),
    "comma": (", ", "、"),  # between the parts of a list
    "pause": (", ", "，"),
    "full_stop": ("{said}.", "{said}。"),
    "on": (" on {bench}", "在 {bench} 上"),
    "on_all": (" on any of the {count} benchmarks", "在全部 {count} 个基准上"),
    "and": (" and ", "、"),
    "nothing_compared": ("nothing was compared", "没有可比较的结果"),
    "clause.invalid": ("no valid figure{where} (a guard says why)", "{where}没有有效结论（原因见检查项）"),
    "clause.worse_within_margin": (
        "loses {lost} points{where} ({least} to {most}), within the margin of {margin}",
        "{where}损失 {lost} 个百分点（{least} 至 {most}），未超出 {margin}的界值",
    ),
    "clause.worse_beyond_margin": (
        "loses {lost} points{where} ({least} to {most}), beyond the margin of {margin}",
        "{where}损失 {lost} 个百分点（{least} 至 {most}），超出 {margin}的界值",
    ),
    "clause.inconclusive_loss": (
        "loses {lost} points{where} ({least} to {most}), perhaps more than the margin of {margin}",
        "{where}损失 {lost} 个百分点（{least} 至 {most}），可能超出 {margin}的界值",
    ),
    "clause.no_loss": ("no loss larger than {margin}{where}", "{where}的损失不超过 {margin}"),
    "clause.no_loss_here": ("no loss larger than {margin}", "损失不超过 {margin}"),
    "clause.inconclusive": (
        "cannot tell{where} (difference {difference} points, {interval}; margin {margin})",
        "{where}无法判定（差值 {difference} 个百分点，{interval}；界值 {margin}）",
    ),
    "clause.inconclusive_several": ("cannot tell{where}", "{where}无法判定"),
    "noise.unknown": (
        "Noise floor: not measured. How many answers flip when the baseline is run again is not known here; "
        "--control runs it a second time.",
        "噪声基底：未测量。基线重跑一次会有多少题的对错发生翻转，此处不得而知；用 --control 可将基线再跑一遍。",
    ),
    "noise": (
        "Noise floor ({control}, the baseline run again): {said}.",
        "噪声基底（{control}，即基线重跑）：{said}。",
    ),
    "noise.bench": (
        "{flips} of {items} items flip on {bench} ({difference} points, {interval})",
        "{bench} 上 {items} 题中有 {flips} 题翻转（{difference} 个百分点，{interval}）",
    ),
    "one_variant": ("One variant only: there is nothing to compare.", "只有一个版本，没有可比较的对象。"),
    # titles
    "title": ("{study}: what do fewer bits cost?", "{study}：更低的精度，代价几何？"),
    "scores_and_differences": ("Scores and differences", "得分与差值"),
    "all_benchmarks": ("All benchmarks together", "全部基准合计"),
    "subgroups": ("Subgroups", "子类"),
    "graders": ("Every grader on the same completions", "同一批回答的各判分器得分"),
    "metric": ("metric", "指标"),
    "graders_note": (
        "The metric in bold is the score above; the others show what other tools would report for these completions.",
        "粗体为上文所用的主指标；其余为其他工具对同一批回答会给出的得分。",
    ),
    "code_execution": ("How programs ended", "程序运行结果"),
    "sandbox": ("sandbox", "沙箱"),
    "program_verdicts": ("programs", "程序"),
    "rates": ("rates", "比率"),
    "what_to_doubt": ("What to doubt", "存疑之处"),
    "what_ran": ("What ran", "实际运行配置"),
    # columns
    "benchmark": ("benchmark", "基准"),
    "benchmarks": ("benchmarks", "基准数"),
    "items": ("items", "题数"),
    "variant": ("variant", "版本"),
    "candidate": ("candidate", "候选版本"),
    "baseline": ("baseline", "基线"),
    "control": ("control", "对照（基线重跑）"),
    "role": ("role", "角色"),
    "model": ("model", "模型"),
    "engine_as_it_ran": ("engine, as it ran", "引擎（实际运行状态）"),
    "score": ("score", "得分"),
    "difference_points": ("difference (points)", "差值（百分点）"),
    "difference": ("difference", "差值"),
    "interval": ("95 % interval", "95% 置信区间"),
    "lost_gained": ("lost / gained", "由对变错 / 由错变对"),
    "p": ("p", "p 值"),
    "p_holm": ("p (Holm)", "p 值（Holm 校正）"),
    "recovery": ("recovery", "得分保持率"),
    "margin": ("margin", "界值"),
    "verdict": ("verdict", "结论"),
    "noise_floor": ("noise floor", "噪声基底"),
    "subgroup": ("subgroup", "子类"),
    "problems": ("cut off / no answer / unscored", "截断 / 无答案 / 未评分"),
    "problems.of": ("{name} {cut_off} / {no_answer} / {unscored}", "{name}：{cut_off} / {no_answer} / {unscored}"),
    "none": ("none", "无"),
    # speed and memory
    "speed": ("Accuracy against speed and memory", "准确率与速度、显存"),
    "speed.note": (
        "What the smaller format gives back: output tokens a second over the whole run, and the size of the weights.",
        "更低精度换来的收益：整个运行中每秒输出的 token 数，以及权重大小。",
    ),
    "speed.unknown": ("not measured", "未测量"),
    "speed.recorded": ("recorded answers: speed not measured", "录制的回答：未测速度"),
    "speed.none": (
        "No speed is known: the answers were recorded elsewhere, or nothing was generated.",
        "速度未知：回答是在别处录制的，或没有生成任何内容。",
    ),
    "tokens_per_second": ("output tokens a second", "每秒输出 token 数"),
    "against_baseline": ("× baseline", "相对基线"),
    "weights_gb": ("weights, GB", "权重大小（GB）"),
    "gain.rate": ("{times} × the baseline's output tokens a second", "每秒输出 token 数为基线的 {times} 倍"),
    "gain.weights": ("{times} × the size of its weights", "权重大小为基线的 {times} 倍"),
    # explanations
    "comparison_note": (
        "Differences are candidate minus baseline on the same items. *Lost* were right in the baseline and wrong in "
        "the candidate, *gained* the other way round. *Cannot tell* means that this run rules out neither a loss "
        "beyond the margin nor equality. *Noise floor*: the baseline run again, whose flips are chance.",
        "差值为同一批题目上候选版本减去基线的得分。*由对变错*指基线答对而候选版本答错的题，*由错变对*则相反。"
        "*界值*是运行之前就定下的、可以接受的最大损失。*无法判定*指本次运行既不能排除超出界值的损失，"
        "也不能排除两者相等。"
        "*噪声基底*：基线重跑一次，其翻转纯属偶然。",
    ),
    "protocol": (
        "Profile {profile}; study fingerprint {fingerprint}{limits}. Prompts: `exam/`; raw completions: `samples/`; "
        "every verdict: `grades/`; all figures: `results.json`.",
        "协议配置 {profile}；研究指纹 {fingerprint}{limits}。提示词见 `exam/`；模型原始输出见 `samples/`；"
        "逐题判分见 `grades/`；全部数据见 `results.json`。",
    ),
    "protocol.limits": ("; limits: {limits} items", "；题数上限：{limits}"),
    "messages_note": ("", "检查项的含义与处理办法以中文给出；带具体数值的原始消息保留英文原文。"),
    "counts": ("Guards: errors {errors}, warnings {warnings}.", "检查项：错误 {errors} 项，警告 {warnings} 项。"),
    "error": ("error", "错误"),
    "warning": ("warning", "警告"),
    "guard": ("{message}", "{title}：{meaning}原文：{message}"),
    "guard.unknown": ("{message}", "{title}。原文：{message}"),
    # plots
    "plot.differences": ("Difference to the baseline, points (95 % interval)", "与基线之差，百分点（95% 置信区间）"),
    "plot.differences.note": (
        "Band: the margin. Diamond: a loss is shown. Hollow: the baseline again (noise floor). Cross: invalid.",
        "阴影带：界值。菱形：已证实的损失。空心：基线重跑（噪声基底）。叉号：无效。",
    ),
    "plot.scores": ("Scores, per cent (95 % interval)", "得分，%（95% 置信区间）"),
    # a filled table
    "fill.not_run": ("not run: {reason}", "未运行：{reason}"),
    "fill.not_in_study": ("not part of this study", "不在本次研究之内"),
    "fill.limited": ("{items} of {available} items only", "仅测 {available} 题中的 {items} 题"),
    "fill.unscored": ("{name}: {count} samples unscored", "{name}：{count} 个样本未评分"),
    "fill.invalid": ("{name}: no valid verdict ({guards})", "{name}：结论无效（{guards}）"),
    # what ran
    "not_run": ("not run", "未运行"),
    "not_quantized": ("not quantized", "未量化"),
    "weights": ("weights {shown}", "权重 {shown}"),
    "activations": ("activations {shown}", "激活 {shown}"),
    "kernels": ("kernels {shown}", "内核 {shown}"),
    "remote_code": (
        "code of the checkpoint was run (trust_remote_code)",
        "运行了检查点自带的代码（trust_remote_code）",
    ),
}

# guard -> (its name in Chinese, what it means and what to do about it)
GUARDS: Mapping[str, tuple[str, str]] = {
    "unscored": ("未评分", "部分样本没有得分，不参与比较；请重新运行同一命令补齐。"),
    "subset": (
        "题目不全",
        "部分题目只在其中一方有得分，未参与比较；若缺的恰是难题，其余题目会使结论失真，请将双方补齐。",
    ),
    "guessing": (
        "不高于随机猜测",
        "得分没有高出随机猜测的水平，无从看出损失；可能是模型做不了这一基准，也可能是答案没有被正确读取。",
    ),
    "floor": ("触底", "得分过低，无法再降，因此没有差异并不说明问题；请换用更容易的基准，或检查答案是否被正确读取。"),
    "ceiling": ("触顶", "得分过高，这一基准太容易，显不出更难的基准可能显出的损失。"),
    "graders_disagree": ("判分器不一致", "两个判分器对同一批输出的结论相差较大；采信任何一个之前，请先读几条输出。"),
    "limit": ("仅部分题目", "只测了一部分题目：子集本身公平，但不等于该基准公开发表的指标。"),
    "fewer_items": ("数据集不完整", "读到的题目少于该基准应有的数量，得分不是该基准的得分；请检查数据文件是否完整。"),
    "one_sample": (
        "采样次数过少",
        "题目少且带温度采样，每题只采一次，仅凭偶然就会翻转许多答案；请增加每题的采样次数。",
    ),
    "cut_off": ("截断", "部分回答用尽 token 预算而被截断，可能仅因此被判错；请提高 max_tokens，或检查是否陷入重复。"),
    "cut_off_difference": (
        "截断率不同",
        "该版本与基线被截断的比例不同，差异可能来自篇幅而非准确率；请提高 max_tokens 后再看。",
    ),
    "no_answer": ("无答案", "部分输出中读不出答案，按答错计；请查看样本文件：提示词或答案格式可能不适合该模型。"),
    "no_answer_difference": (
        "无答案比例不同",
        "该版本与基线读不出答案的比例不同，差异部分来自答题格式而非内容；断定能力下降之前请先读几条输出。",
    ),
    "loops": (
        "重复输出",
        "部分回答不断重复直至用尽预算：贪心解码和受损的权重都会如此；增大预算无济于事，"
        "可调整温度或 repetition_penalty。",
    ),
    "empty": ("空输出", "部分输出为空，模型一开始就结束了；请检查聊天模板、结束符，以及权重是否被正确读取。"),
    "identical": ("输出雷同", "无论问什么，输出都是同一段文字：模型已损坏，或题目没有送达模型；请检查提示词与权重。"),
    "same_answers": (
        "两个版本输出完全相同",
        "两个版本的长输出逐字相同，不同权重不会如此：多半是同一模型用了两个名字，请检查模型路径。",
    ),
    "prompt": ("提示词", "聊天模板没有完全采纳协议中的某项设置。"),
    "prompt_differs": (
        "提示词不同",
        "送达模型的提示词与试卷或基线不一致（被截短或渲染不同），各版本答的不是同一份试卷；请在新目录中重跑。",
    ),
    "exam_differs": ("试卷不同", "该版本答的是另一份试卷（题目、提示词或数据版本不同）；请在新目录中重跑。"),
    "sampling_differs": ("采样参数不同", "该版本的采样参数与规定的不同，差异可能仅由此而来；请用相同参数重跑。"),
    "budget_differs": (
        "token 预算不同",
        "部分回答在未达研究规定的预算时就被截断，或超出了预算；请检查 max_model_len、服务器或录制时的设置。",
    ),
    "tokenizer_differs": ("分词器不同", "该版本的分词器文件与基线不同。"),
    "chat_template_differs": ("聊天模板不同", "该版本的聊天模板与基线不同。"),
    "engine_difference": (
        "引擎不同",
        "推理引擎或其版本与基线不同，计算方式随之不同，差异不只来自精度；请用同一套安装运行所有版本。",
    ),
    "device_difference": (
        "设备不同",
        "运行设备与基线不同，差异不只来自精度，速度也不可比；请在同一设备上运行所有版本。",
    ),
    "settings_difference": (
        "引擎设置不同",
        "引擎设置与基线不同；除非这正是要比较的内容，请在研究文件的 engine 一节中统一设置。",
    ),
    "mixed_engines": ("运行环境中途变化", "该版本的回答来自不止一个引擎或设备；若可能影响结果，请重新开始。"),
    "restarted": (
        "引擎重启过",
        "引擎曾崩溃或停止响应，随后被重新启动；每条回答都是完整的，但会崩溃的引擎也可能算错："
        "请抽看几条输出并查看 logs/。",
    ),
    "recorded": ("录制的回答", "回答是在别处录制的，其提示词、采样参数、引擎与权重在此无法核实。"),
    "unproved": (
        "无法核实",
        "回答来自一台服务器，其实际运行的权重、内核与设置无从查看；若要证明运行的是什么，请使用 vllm 引擎。",
    ),
    "not_as_named": (
        "精度与名称不符",
        "实际运行的权重不是名称所说的精度，得分不属于该精度；请检查模型路径，或按实际精度命名。",
    ),
    "weight_only": (
        "仅权重量化",
        "检查点声明了激活量化，但所选内核以未量化的激活计算；在有相应内核的设备上，准确率可能更低，速度可能更高。",
    ),
    "other_weights": (
        "权重文件变过",
        "引擎载入的文件与记录的检查点不同，文件在运行期间被改动，一个名称对应了两个检查点；请在新目录中重跑。",
    ),
    "same_weights": ("权重相同", "两个版本的权重与引擎设置完全相同，实为同一模型，比较说明不了精度的影响。"),
    "same_results": ("结果相同", "基线与候选是同一份结果，没有差异并不说明问题；请给出两份不同的结果。"),
    "samples_differ": ("采样次数不同", "双方每题的采样次数不同，只比较双方都有的前几次。"),
    "answers_not_read": (
        "答案未被读取",
        "许多输出给出了答案却全部判为零分，判分器可能读不出这种写法；请换用别的任务、过滤器或指标重新判分。",
    ),
    "few_groups": ("分组过少", "group 指共用同一题干的题目，会相应放宽置信区间；学科或类别请改用 subgroup。"),
}


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
