from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest

from bitparity.errors import StudyError
from bitparity.study.files import load_profile, profile_names
from bitparity.study.resolve import parse_study
from bitparity.study.template import STUDY_TEMPLATE

EXAMPLE = """
study: qwen3-32b
variants:
  bf16:  {model: Qwen/Qwen3-32B, baseline: true}
  fp8:   {model: Qwen/Qwen3-32B-FP8}
  nvfp4: {model: RedHatAI/Qwen3-32B-NVFP4}
engine: {kind: vllm, max_model_len: 40960, gpu_memory_utilization: 0.95}
profile: qwen3-thinking
benchmarks:
  - mmlu_pro
  - {name: gpqa_diamond, samples: 5, margin: 5}
  - {name: aime24, samples: 16, limit: 30, data: local.jsonl}
  - lm_eval:gsm8k
"""


def parsed(text: str, folder: Path, limit: int | None = None):
    return parse_study(text, "study.yaml", folder, limit)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "local.jsonl").write_text("{}\n")
    return tmp_path


def test_the_example_of_the_documentation_resolves_with_every_value_filled_in(folder: Path) -> None:
    study = parsed(EXAMPLE, folder)
    assert study.baseline == "bf16"
    assert study.candidates == ["fp8", "nvfp4"]
    engine = study.variants["fp8"].engine
    assert (engine.kind, engine.max_model_len, engine.gpu_memory_utilization) == ("vllm", 40960, 0.95)
    mmlu, gpqa, aime, gsm = study.benchmarks
    assert mmlu.margin == 1
    assert (gpqa.samples, gpqa.margin) == (5, 5)
    assert (aime.samples, aime.limit, aime.data) == (16, 30, str(folder / "local.jsonl"))
    assert aime.protocol.max_tokens == 38912
    assert mmlu.protocol.max_tokens == 32768
    assert mmlu.protocol.temperature == 0.6
    assert mmlu.protocol.reasoning.end == "</think>"  # type: ignore[union-attr]
    assert gsm.name == "lm_eval:gsm8k"


def test_the_study_that_init_writes_is_valid(tmp_path: Path) -> None:
    assert parsed(STUDY_TEMPLATE, tmp_path).name == "qwen3-32b"


def test_the_settings_of_artificial_analysis(tmp_path: Path) -> None:
    names = ["mmlu_pro", "hle", "gpqa_diamond", "math500", "aime24", "livecodebench", "scicode"]
    text = f"study: s\nprofile: artificial-analysis\nvariants: {{a: {{model: some/model}}}}\nbenchmarks: {names}"
    benchmarks = parsed(text, tmp_path).benchmarks
    assert [b.samples for b in benchmarks] == [1, 1, 5, 3, 10, 3, 3]
    assert {(b.form, b.protocol.max_tokens, b.protocol.temperature) for b in benchmarks} == {("chat", 16384, 0.0)}
    livecodebench = benchmarks[5].settings
    assert [livecodebench[k] for k in ("release", "start", "end")] == ["v5", "2024-07-01", "2025-01-01"]


def test_any_value_of_a_profile_can_be_overridden_for_one_benchmark(tmp_path: Path) -> None:
    entry = "{name: gpqa_diamond, samples: 2, margin: 4, max_tokens: 99, temperature: 0.5, form: chat, seed: 7}"
    head = "study: s\nprofile: artificial-analysis\nvariants: {a: {model: some/model}}\nbenchmarks:"
    text = f"{head}\n- {entry}\n- math500"
    gpqa, math = parsed(text, tmp_path).benchmarks
    assert (gpqa.samples, gpqa.margin, gpqa.protocol.max_tokens) == (2, 4, 99)
    assert (gpqa.protocol.temperature, gpqa.protocol.seed) == (0.5, 7)
    assert (math.samples, math.protocol.max_tokens, math.protocol.temperature) == (3, 16384, 0.0)


@pytest.mark.parametrize("name", profile_names())
def test_every_value_of_a_profile_has_its_source_beside_it(name: str) -> None:
    """Each line with a value carries a comment, or stands in a section that does."""
    text = (resources.files("bitparity.study") / "profiles" / f"{name}.yaml").read_text(encoding="utf-8")
    bare = [line for line in text.splitlines() if re.match(r"  \w+: *[^ {]", line) and "#" not in line]
    assert name == "default" or not bare, bare


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_is_valid_and_names_its_source(name: str) -> None:
    profile = load_profile(name)
    assert profile.description
    assert profile.source


def test_explicit_values_win_over_a_tasks_own_settings_and_defaults_do_not(folder: Path) -> None:
    own = {"max_tokens": 256, "stop": ["Q:"], "temperature": 0.0}
    thinking = parsed(EXAMPLE, folder).benchmarks[3].protocol.sampling(own)
    assert (thinking.max_tokens, thinking.temperature, thinking.stop) == (32768, 0.6, ("Q:",))
    plain = parsed(EXAMPLE.replace("qwen3-thinking", "default"), folder).benchmarks[3].protocol.sampling(own)
    assert (plain.max_tokens, plain.stop) == (256, ("Q:",))


def test_a_variant_may_override_engine_keys(folder: Path) -> None:
    text = EXAMPLE.replace("{model: Qwen/Qwen3-32B-FP8}", "{model: Qwen/Qwen3-32B, engine: {kv_cache_dtype: fp8}}")
    study = parsed(text, folder)
    assert study.variants["fp8"].engine.kv_cache_dtype == "fp8"
    assert study.variants["bf16"].engine.kv_cache_dtype is None


def test_a_limit_from_the_command_line_replaces_all_others(folder: Path) -> None:
    assert {b.limit for b in parsed(EXAMPLE, folder, limit=7).benchmarks} == {7}


def test_the_fingerprint_follows_every_value_and_nothing_else(folder: Path) -> None:
    same = parsed(EXAMPLE, folder).fingerprint()
    assert parsed("# a comment\n" + EXAMPLE, folder).fingerprint() == same
    for old, new in (("margin: 5", "margin: 4"), ("0.95", "0.9"), ("samples: 16", "samples: 8"), ("fp8:", "f8:")):
        assert parsed(EXAMPLE.replace(old, new), folder).fingerprint() != same


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("benchmarks:", "benchmark:", "did you mean 'benchmarks'?"),
        ("max_model_len", "max_modle_len", "did you mean 'max_model_len'?"),
        ("samples: 5", "sampels: 5", "did you mean 'samples'?"),
        ("baseline: true", "base_line: true", "did you mean 'baseline'?"),
        ("profile: qwen3-thinking", "profile: qwen3-thinkin", "did you mean 'qwen3-thinking'?"),
        ("- mmlu_pro", "- mmlu-pro", "did you mean 'mmlu_pro'?"),
        ("kind: vllm", "kind: vlm", "engine.kind"),
        (", baseline: true", "", "no variant is the baseline"),
        ("Qwen3-32B-FP8}", "Qwen3-32B-FP8, baseline: true}", "2 baselines (bf16, fp8)"),
        ("limit: 30", "limit: 0", "greater than or equal to 1"),
        ("samples: 16", "samples: 0", "greater than or equal to 1"),
        ("samples: 16", "samples: many", "valid integer"),
        ("margin: 5", "margin: -1", "greater than 0"),
        ("0.95}", "1.5}", "less than or equal to 1"),
        ("- mmlu_pro", "- mmlu_pro\n  - mmlu_pro", "listed twice"),
        ("- mmlu_pro", "- 'lm_eval:'", "names no task"),
        ("study: qwen3-32b", "study: a/b", "cannot be a file name"),
        ("fp8:   {", "../x: {", "cannot be a file name"),
        ("fp8:   {", "BF16: {", "differ only in case"),
        ("data: local.jsonl", "data: absent.jsonl", "absent.jsonl does not exist"),
        ("data: local.jsonl", "data: .", "is a folder"),
        ("model: Qwen/Qwen3-32B,", "model: ./absent,", "model folder ./absent does not exist"),
        ("fp8:   {", "bf16:   {", "key 'bf16' is given twice"),
        ("variants:", "variants: [", "not valid YAML at line"),
        ("study: qwen3-32b", "", "study: Field required"),
    ],
)
def test_a_wrong_study_is_refused_with_one_line_that_names_the_fault(
    old: str, new: str, said: str, folder: Path
) -> None:
    assert old in EXAMPLE
    with pytest.raises(StudyError) as error:
        parsed(EXAMPLE.replace(old, new, 1), folder)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_empty_lists_and_other_documents_are_refused(folder: Path) -> None:
    for text in ("", "[]", "just text", "study: a\nvariants: {}\nbenchmarks: [smoke]"):
        with pytest.raises(StudyError):
            parsed(text, folder)


def test_a_form_that_a_benchmark_does_not_have(tmp_path: Path) -> None:
    text = "study: s\nprofile: lm-eval\nvariants: {a: {model: some/model}}\nbenchmarks: [hle, math500, lm_eval:gsm8k]"
    assert [b.form for b in parsed(text, tmp_path).benchmarks] == ["chat", "lm-eval", "lm-eval"]
    with pytest.raises(StudyError, match="hle: there is no form 'lm-eval' of it, only: chat"):
        parsed(text.replace("[hle, ", "[{name: hle, form: lm-eval}, "), tmp_path)


def test_a_link_s_own_name_is_kept_and_decides_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "Small-NVFP4").symlink_to("folder")
    text = "study: s\nvariants: {a: {model: %s, baseline: true}}\nbenchmarks: [smoke]\n"
    linked, plain = (parse_study(text % name, "study.yaml", tmp_path) for name in ("Small-NVFP4", "folder"))
    assert (linked.variants["a"].named, plain.variants["a"].named) == ("Small-NVFP4", None)
    assert linked.fingerprint() == plain.fingerprint()
