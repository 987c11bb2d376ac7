from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_model
from tiny_model import TEMPLATE, protocol

pytest.importorskip("transformers")

from bitparity.errors import ModelError
from bitparity.exam.rendering import Renderer, difference
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
    assert dropped.system_dropped
    assert "Be brief" not in dropped.text
    assert not renderer.render(Prompt(messages=(USER,)), protocol(**refusing)).system_dropped
    with pytest.raises(ModelError, match=r"no system role.*remove 'system'"):
        renderer.render(Prompt(messages=(USER,)), protocol(system="Be kind.", **refusing))


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
