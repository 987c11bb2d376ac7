from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_model
from tiny_model import TEMPLATE, protocol

pytest.importorskip("transformers")

from bitparity.errors import ModelError
from bitparity.exam.rendering import Renderer, difference
from bitparity.models.tokenizer import DATED, NO_SYSTEM, SYSTEM_UNSHOWN
from bitparity.records import Message, Prompt

USER: Message = {"role": "user", "content": "Hi"}
SYSTEM: Message = {"role": "system", "content": "Be brief."}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def renderer(folder: Path) -> Renderer:
    return Renderer(folder)


SIDES = ("baseline", "candidate")


def test_a_chat_ends_in_the_generation_prompt(renderer: Renderer) -> None:
    rendered = renderer.render(Prompt(messages=(USER,)), protocol())
    assert rendered.text == "<s>user: Hi<|end|>\nassistant: "
    assert rendered.token_ids[:2] == (1, renderer.encode("u").token_ids[1])  # one BOS, not two
    assert rendered.scored is None


def test_a_last_assistant_message_is_continued(renderer: Renderer) -> None:
    messages = (USER, {"role": "assistant", "content": "The answer is"})
    assert renderer.render(Prompt(messages=messages), protocol()).text == (
        "<s>user: Hi<|end|>\nassistant: The answer is"
    )


def test_plain_text_gets_the_tokenizers_own_bos(renderer: Renderer) -> None:
    rendered = renderer.render(Prompt(text="ab"), protocol(apply_chat_template=False))
    assert (rendered.text, len(rendered.token_ids), rendered.token_ids[0]) == ("ab", 3, 1)


def test_the_protocols_system_message(renderer: Renderer) -> None:
    alone = renderer.render(Prompt(messages=(USER,)), protocol(system="Be kind."))
    joined = renderer.render(Prompt(messages=(SYSTEM, USER)), protocol(system="Be kind."))
    assert alone.text.startswith("<s>system: Be kind.<|end|>\nuser: Hi")
    assert joined.text.startswith("<s>system: Be kind.\n\nBe brief.<|end|>\nuser: Hi")
    with pytest.raises(ModelError, match="plain text"):
        renderer.render(Prompt(text="x"), protocol(system="Be kind."))


def test_a_template_that_refuses_a_system_message(renderer: Renderer) -> None:
    refusing = {"chat_template_args": {"refuse_system": True}}
    dropped = renderer.render(Prompt(messages=(SYSTEM, USER)), protocol(**refusing))
    assert dropped.notes == (NO_SYSTEM,)
    assert "Be brief" not in dropped.text
    assert renderer.render(Prompt(messages=(USER,)), protocol(**refusing)).notes == ()
    with pytest.raises(ModelError, match=r"no system role.*remove 'system'"):
        renderer.render(Prompt(messages=(USER,)), protocol(system="Be kind.", **refusing))


def showing(
    tmp_path: Path, head: str = "", message: str = "{{ m['role'] }}: {{ m['content'] }}", where: str = ""
) -> Renderer:
    """A renderer whose template starts with `head` and shows each message so, those of `where` alone."""
    template = f"{head}{{% for m in messages {where} %}}{message}\n{{% endfor %}}assistant: "
    return Renderer(tiny_model.build_tokenizer(tmp_path, template=template))


def test_a_template_that_leaves_out_the_system_message_without_a_word(tmp_path: Path) -> None:
    silent = showing(tmp_path, where="if m['role'] != 'system'")
    assert silent.render(Prompt(messages=(SYSTEM, USER)), protocol()).notes == (SYSTEM_UNSHOWN,)
    assert silent.render(Prompt(messages=(USER,)), protocol()).notes == ()
    with pytest.raises(ModelError, match="leaves out a message of the role 'system'.*remove 'system'"):
        silent.render(Prompt(messages=(USER,)), protocol(system="Hi"))  # whose text the question happens to hold


@pytest.mark.parametrize("where", ["if m['role'] != 'assistant'", "if loop.last", "if m['role'] == 'system'"])
def test_a_template_that_leaves_out_a_turn_is_refused(tmp_path: Path, where: str) -> None:
    if where == "if loop.last":
        where, message = "", "{% if loop.last %}{{ m['content'] }}{% endif %}"
    else:
        message = "{{ m['content'] }}"
    shots = (USER, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Hi?"})
    with pytest.raises(ModelError, match="leaves out a message of the role '(user|assistant)'"):
        showing(tmp_path, message=message, where=where).render(Prompt(messages=shots), protocol())


def test_a_template_that_cuts_long_messages_is_refused_where_one_is(tmp_path: Path) -> None:
    cutting = showing(tmp_path, message="{{ m['content'][:20] }}")
    assert cutting.render(Prompt(messages=(USER,)), protocol()).notes == ()
    with pytest.raises(ModelError, match="or its end"):
        cutting.render(Prompt(messages=({"role": "user", "content": "long question " * 4},)), protocol())


def test_templates_may_trim_merge_and_strip_what_was_thought(tmp_path: Path) -> None:
    said = "{{ m['content'].split('</think>')[-1] | trim }}"
    stripping = showing(tmp_path, message=said)
    shots = (USER, {"role": "assistant", "content": "<think>long</think>\nYes"}, {"role": "user", "content": " Hi? "})
    found = stripping.render(Prompt(messages=(SYSTEM, *shots)), protocol())
    assert found.notes == ()
    assert "long" not in found.text


def test_a_template_that_prints_the_date_is_given_the_same_every_day(tmp_path: Path) -> None:
    head = "{% if strftime_now is defined %}Today is {{ strftime_now('%d %b %Y') }}\n{% endif %}"
    rendered = showing(tmp_path, head).render(Prompt(messages=(USER,)), protocol())
    assert rendered.text.startswith("Today is 01 Jan 2025\n")
    assert rendered.notes == (DATED,)
    with pytest.raises(ModelError, match="may not set strftime_now"):
        showing(tmp_path).render(Prompt(messages=(USER,)), protocol(chat_template_args={"strftime_now": "today"}))


@pytest.mark.parametrize(
    "head", ["{{ ['a', 'b', 'c'] | random }}", "{{ lipsum(1) }}", "{{ lipsum }}{{ range(9) | random }}"]
)
def test_a_template_that_uses_chance_is_refused(tmp_path: Path, head: str) -> None:
    with pytest.raises(ModelError, match="makes another text each time"):
        showing(tmp_path, head).render(Prompt(messages=(USER,)), protocol())


def test_no_chat_template(tmp_path: Path) -> None:
    base = Renderer(tiny_model.build_tokenizer(tmp_path, template=None))
    with pytest.raises(ModelError, match="apply_chat_template: false"):
        base.render(Prompt(messages=(USER,)), protocol())
    with pytest.raises(ModelError, match="apply_chat_template is false"):
        base.render(Prompt(messages=(USER,)), protocol(apply_chat_template=False))
    assert base.render(Prompt(text="x"), protocol(apply_chat_template=False)).text == "x"


def test_template_arguments(renderer: Renderer) -> None:
    arguments = {"enable_thinking": False, "refuse_system": True}
    assert renderer.unused_template_args(protocol(chat_template_args=arguments)) == ["enable_thinking"]
    with pytest.raises(ModelError, match="tokenize"):
        renderer.render(Prompt(messages=(USER,)), protocol(chat_template_args={"tokenize": True}))


def test_an_empty_prompt_is_refused(tmp_path: Path) -> None:
    import json

    folder = tiny_model.build_tokenizer(tmp_path)
    config = json.loads((folder / "tokenizer.json").read_text())
    config["post_processor"] = None  # nothing is put first
    (folder / "tokenizer.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="no tokens"):
        Renderer(folder).encode("")


def test_a_broken_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelError, match="cannot be loaded"):
        Renderer(tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("context", ["Q: 1+1\nA:", "spaces   ", "<s>own BOS", "</s>x", "", "é ü\n"])
def test_pairs_equal_lm_evals(renderer: Renderer, context: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    class Tokens(HFLM):  # type: ignore[misc]
        """HFLM without a model: it shows the pairs it would score."""

        def __init__(self, tokenizer: Any) -> None:
            self.tokenizer, self.backend = tokenizer, "causal"
            self.add_bos_token = self.custom_prefix_token_id = self.enable_thinking = None

        def _loglikelihood_tokens(self, requests: Any, **_: Any) -> Any:
            return [(tuple(c), tuple(k)) for _, c, k in requests]

    continuations = (" A", "B", " two words", "<s>again")
    theirs = Tokens(renderer.tokenizer).loglikelihood(
        [Instance("loglikelihood", {}, (context, c), n) for n, c in enumerate(continuations)], disable_tqdm=True
    )
    assert renderer.encode(context, continuations).scored == tuple(theirs)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("text", ["plain", "<s>own BOS", "</s>", " lead", "trail ", "é\u2009", "<|end|>\n"])
def test_prompts_equal_lm_evals(renderer: Renderer, text: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("lm_eval")
    from lm_eval.models.huggingface import HFLM

    class Tokens(HFLM):  # type: ignore[misc]
        """HFLM without a model."""

        def __init__(self, tokenizer: Any) -> None:
            self.tokenizer, self.backend, self.add_bos_token = tokenizer, "causal", None

    ids, _ = Tokens(renderer.tokenizer).tok_batch_encode([text])
    assert renderer.encode(text).token_ids == tuple(ids[0].tolist())


def test_differences_are_shown(renderer: Renderer, tmp_path: Path) -> None:
    one = renderer.render(Prompt(messages=(USER,)), protocol())
    assert difference(one, one, SIDES) is None
    other = renderer.render(Prompt(messages=({"role": "user", "content": "Ho"},)), protocol())
    assert difference(one, other, ("bf16", "fp8")) == (
        "the text differs at character 10: bf16 has '<s>user: Hi<|end|>\\nassistant: ', "
        "fp8 has '<s>user: Ho<|end|>\\nassistant: '"
    )
    changed = Renderer(tiny_model.build_tokenizer(tmp_path, template=TEMPLATE))
    changed.tokenizer.add_tokens(["Hi"])
    same_text = changed.render(Prompt(messages=(USER,)), protocol())
    told = difference(one, same_text, SIDES, decode=(renderer.decode, changed.decode))
    assert told is not None
    assert told.startswith("the text is the same, token 7 differs: baseline has ")
    assert "'H', candidate has 261 'Hi'" in told


def test_differences_in_continuations_are_shown(renderer: Renderer) -> None:
    a, b = renderer.encode("x", ["A", "B"]), renderer.encode("x", ["A", "BC"])
    assert difference(a, a, SIDES) is None
    told = difference(a, b, SIDES)
    assert told is not None
    assert told.startswith("the text is the same, continuation 1 token 1 differs: baseline has no more tokens")


def test_an_exams_prompt_is_rendered_once_for_all_variants_that_share_the_tokenizer(renderer: Renderer) -> None:
    prompt = Prompt(messages=(USER,))
    first = renderer.render_once(prompt, protocol())
    assert first == renderer.render(prompt, protocol())
    assert renderer.render_once(prompt, protocol()) is first
    assert renderer.render_once(prompt, protocol(system="Be brief.")) != first
