"""The engine openai against a double server that refuses, fails, hangs and hides as real ones do."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from time import monotonic, time
from typing import Any

import pytest
import tiny_model
from openai_double import EXTENSIONS, NAME, Answers, Double, Reply, completion, echo, message, serving
from support import Cli, math_rows, write_jsonl

from bitparity.engines import openai_client
from bitparity.engines.openai_client import about_server
from bitparity.engines.openai_engine import LOST_IN_A_ROW, OpenAIEngine
from bitparity.engines.readings import arrays_of
from bitparity.errors import EngineError, ModelError, UserInputError
from bitparity.grading.reasoning import split_reasoning
from bitparity.records import Reading, Request, Sample, Sampling, Unrendered
from bitparity.schema import EngineSpec, ReasoningSpec, Variant
from bitparity.study.resolve import load_study

KEY = "sk-very-secret"
GREEDY = Sampling(max_tokens=16)
ASKED = Unrendered(({"role": "user", "content": "2 + 2?"},), None, {"enable_thinking": True})
CHAT = Request("b", "q", 0, GREEDY, 7, unrendered=ASKED)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_client, "FIRST_PAUSE_S", 0.01)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    return tiny_model.build_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def variant(double: Double, tokenizer: Path | None = None, model: str = NAME, **engine: Any) -> Variant:
    spec = EngineSpec(kind="openai", dtype="auto", batch_size=1, trust_remote_code=False, base_url=double.url, **engine)
    return Variant(model=model, revision=None, tokenizer=tokenizer and str(tokenizer), baseline=True, engine=spec)


@asynccontextmanager
async def loaded(given: Variant) -> AsyncIterator[OpenAIEngine]:
    engine = OpenAIEngine(given)
    try:
        await engine.prepare()
        yield engine
    finally:
        await engine._server.aclose()


def run(given: Variant, *requests: Request) -> tuple[list[Sample], dict[str, Any]]:
    """(samples, facts) of a new engine."""

    async def feed() -> AsyncIterator[Request]:
        for request in requests:
            yield request

    async def collect() -> tuple[list[Sample], dict[str, Any]]:
        async with loaded(given) as engine:
            return [sample async for sample in engine.stream(feed())], engine.facts()

    return asyncio.run(collect())


def rendered(count: int = 9) -> Request:
    return replace(CHAT, token_ids=tuple(range(5, 5 + count)))


def by_turns(replies: Sequence[Reply | None]) -> Answers:
    """These replies to the real requests, one after the other; None is the double's usual answer."""
    left = list(replies)

    def answers(endpoint: str, body: dict[str, Any]) -> Reply | None:
        return left.pop(0) if body.get("max_tokens") == GREEDY.max_tokens and left else None

    return answers


def no_completions(endpoint: str, body: dict[str, Any]) -> Reply | None:
    return Reply({"detail": "Not Found"}, 404) if endpoint == "completions" else None


def test_the_exam_s_tokens_are_sent_with_every_sampling_value(tokenizer: Path) -> None:
    warm = Sampling(16, 0.6, 0.95, 20, 0.1, 0.5, 1.1, ("END",))
    with serving() as double:
        (sample,), facts = run(variant(double, tokenizer), replace(rendered(), sampling=warm))
        (body,) = double.asked()
    assert body["prompt"] == list(range(5, 14))
    told = {k: body[k] for k in ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "repetition_penalty")}
    assert list(told.values()) == [0.6, 0.95, 20, 0.1, 0.5, 1.1]
    assert (body["seed"], body["stop"], body["max_tokens"], body["model"]) == (7, ["END"], 16, NAME)
    assert body["stop_token_ids"] == [2, 3]  # </s> and the template's end of a turn
    assert (sample.text, sample.finish, sample.tokens, sample.prompt_tokens) == ("4", "stop", 3, 9)
    assert facts["exam_tokens_sent"]
    assert facts["chat_template"] == "the exam's"
    assert (facts["version"], facts["server"]["software"]) == ("9.9.9", "vllm")
    assert "kernels" in facts["unproved"]


def test_what_is_off_is_said_to_be_off() -> None:
    """Left out, a server takes top_k and others from the checkpoint's generation_config."""
    with serving() as double:
        run(variant(double), CHAT)
        (body,) = double.asked("chat/completions")
    assert (body["top_k"], body["min_p"], body["repetition_penalty"]) == (-1, 0.0, 1.0)
    assert (body["top_p"], body["presence_penalty"], body["frequency_penalty"]) == (1.0, 0.0, 0.0)


def test_without_a_tokenizer_the_server_renders() -> None:
    with serving() as double:
        (sample,), facts = run(variant(double), CHAT)
        (body,) = double.asked("chat/completions")
    assert body["messages"] == [{"role": "user", "content": "2 + 2?"}]
    assert body["chat_template_kwargs"] == {"enable_thinking": True}
    assert sample.text == "4"
    assert (facts["chat_template"], facts["exam_tokens_sent"]) == ("the server's", False)


def test_a_prefix_of_the_answer_is_continued() -> None:
    asked = replace(ASKED, messages=(*(ASKED.messages or ()), {"role": "assistant", "content": "It is"}))
    with serving() as double:
        run(variant(double), replace(CHAT, unrendered=asked))
        (body,) = double.asked("chat/completions")
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


@pytest.mark.parametrize("refuses", ["ids", "counts"])
def test_a_server_that_takes_no_tokens_gets_the_rendered_text(tokenizer: Path, refuses: str) -> None:
    def answers(endpoint: str, body: dict[str, Any]) -> Reply | None:
        if endpoint == "completions" and isinstance(body["prompt"], list):
            return Reply({"error": "prompt must be text"}, 400) if refuses == "ids" else completion(prompt=55)
        return completion(prompt=len(body["prompt"]) + 1) if endpoint == "completions" else None  # with <s>

    ids = (1, *range(40, 50))
    with serving(answers) as double:
        (sample,), facts = run(variant(double, tokenizer), replace(CHAT, token_ids=ids))
        (body,) = double.asked()
    assert body["prompt"].startswith("<s>")
    assert len(body["prompt"]) == 3 + 10
    assert facts["endpoints"]["completions"] == "text"
    assert not facts["exam_tokens_sent"]
    assert sample.prompt_tokens == 14  # as the server counted: <s> was spelled, and the guard on prompts will see it


def test_a_server_without_completions_is_asked_in_chat(tokenizer: Path) -> None:
    with serving(no_completions) as double:
        (sample,), facts = run(variant(double, tokenizer), rendered(9))
    assert sample.text == "4"
    assert facts["endpoints"] == {"chat/completions": "messages"}
    assert (facts["chat_template"], facts["prompt_logprobs"]) == ("the server's", False)


def test_an_endpoint_that_is_not_there_is_named() -> None:
    with serving(no_completions) as double, pytest.raises(EngineError, match=r"status 404: .*Not Found"):
        run(variant(double, endpoint="completions"), CHAT)


def test_chat_messages_do_not_fit_an_endpoint_for_text() -> None:
    with serving() as double, pytest.raises(ModelError, match="asks with chat messages, which the server"):
        run(variant(double, endpoint="completions"), CHAT)


FAULTS = {
    "429": Reply({"error": {"message": "slow down"}}, 429),
    "500": Reply({"error": "x"}, 500),
    "503 in HTML": Reply(status=503, raw=b"<html><h1>Bad Gateway</h1></html>"),
    "broken JSON": Reply(raw=b'{"choices": [{"te'),
    "no choice": Reply({"choices": []}),
    "no text and no message": Reply({"choices": [{"finish_reason": "stop"}]}),
    "a message that is no object": Reply({"choices": [{"message": "4", "finish_reason": "stop"}]}),
    "a content that is no text": Reply({"choices": [{"message": {"content": {"4": 4}}, "finish_reason": "stop"}]}),
    "a part that is no text": message([{"type": "text", "text": "4"}, {"type": "thinking", "thinking": []}]),
    "an error with status 200": Reply({"error": {"message": "upstream died"}}),
    "dropped connection": Reply({"choices": [{"text": "never whole" * 500}]}, drop=True),
    "too slow": Reply({"choices": []}, seconds=1.0),
    "byte by byte": replace(message("never in time"), drip=0.02),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_may_pass_is_tried_again(fault: str) -> None:
    with serving(by_turns([FAULTS[fault], FAULTS[fault]])) as double:
        (sample,), _ = run(variant(double, request_timeout=0.4), CHAT)
        assert len(double.asked("chat/completions")) == 3
    assert (sample.text, sample.error) == ("4", None)


def test_the_server_says_when_to_come_back() -> None:
    with serving(by_turns([Reply({}, 429, {"Retry-After": "1"})])) as double:
        started = monotonic()
        run(variant(double), CHAT)
    assert monotonic() - started >= 1.0


def test_both_forms_of_retry_after() -> None:
    def read(header: str) -> float | None:
        return openai_client.retry_after(header)

    assert (read("3"), read("0.5"), read("soon"), read("")) == (3.0, 0.5, None, None)
    assert read(formatdate(time() + 30, usegmt=True)) == pytest.approx(30, abs=2)
    assert read(formatdate(time() - 30, usegmt=True)) == 0.0


def test_pauses_grow_to_a_limit() -> None:
    openai_client.FIRST_PAUSE_S = 1.0  # set back by the fixture's monkeypatch
    for tried, middle in [(0, 1), (3, 8), (6, 60), (20, 60)]:
        assert 0.75 * middle <= openai_client.pause(tried, None) <= 1.25 * middle
    assert openai_client.pause(0, 100) == 100
    assert openai_client.pause(0, 1e9) == openai_client.LONGEST_RETRY_AFTER_S


def test_a_server_that_is_busy_while_it_is_tried_out(tokenizer: Path) -> None:
    """It is not taken for one that refuses tokens or sampling values."""
    left = [Reply({}, 429)] * 3

    def busy(endpoint: str, body: dict[str, Any]) -> Reply | None:
        return left.pop() if left and endpoint == "completions" else None

    with serving(busy) as double:
        _, facts = run(variant(double, tokenizer), rendered())
    assert (facts["exam_tokens_sent"], facts["sampling_extensions"]) == (True, True)
    left = [Reply({}, 503)] * 1000
    with serving(busy) as double, pytest.raises(EngineError, match="does not answer what it is tried with: status 503"):
        run(variant(double, tokenizer), rendered())


def test_a_request_that_always_fails_is_unscored_and_the_others_go_on() -> None:
    def answers(endpoint: str, body: dict[str, Any]) -> Reply | None:
        poison = any(m["content"] == "poison" for m in body.get("messages", ()))
        return Reply({"error": {"message": "assertion failed"}}, 500) if poison else None

    poison = replace(ASKED, messages=({"role": "user", "content": "poison"},))
    requests = [replace(CHAT, item=f"q{n}") for n in range(5)]
    with serving(answers) as double:
        samples, _ = run(variant(double, retries=1), replace(CHAT, item="bad", unrendered=poison), *requests)
        assert len(double.asked("chat/completions")) == 2 + 5
    found = {s.item: s for s in samples}
    assert (found["bad"].finish, found["bad"].error) == ("error", "status 500: assertion failed")
    assert [found[f"q{n}"].text for n in range(5)] == ["4"] * 5


def test_a_refused_request_is_not_sent_again() -> None:
    refusal = Reply({"error": {"message": "too long"}}, 400)
    with serving(by_turns([refusal])) as double:
        (sample,), _ = run(variant(double), CHAT)
        assert len(double.asked("chat/completions")) == 1
    assert sample.error == "status 400: too long"


def test_a_server_that_goes_away_ends_the_variant() -> None:
    done = [None] * 3
    gone = [Reply({}, 503)] * 1000

    async def feed() -> AsyncIterator[Request]:
        for n in range(100):
            yield replace(CHAT, item=f"q{n}")

    async def drive(given: Variant) -> None:
        async with loaded(given) as engine:
            async for sample in engine.stream(feed()):
                kept.append(sample)

    kept: list[Sample] = []
    with (
        serving(by_turns([*done, *gone])) as double,
        pytest.raises(EngineError, match="no answer to 8 requests in a row, each tried 2 times"),
    ):
        asyncio.run(drive(variant(double, retries=1, concurrency=1)))
    assert [s.finish for s in kept] == ["stop"] * 3 + ["error"] * (LOST_IN_A_ROW - 1)


def test_no_server_at_all() -> None:
    with serving() as double:
        given = variant(double)
    with pytest.raises(EngineError, match=r"cannot be asked: the connection failed \(ConnectError: .* is it running"):
        run(given, CHAT)


def test_a_model_that_is_not_served() -> None:
    with serving() as double, pytest.raises(ModelError, match="has no model 'other'; it serves toy"):
        run(variant(double, model="other"), CHAT)


@pytest.mark.parametrize(
    ("reply", "why"),
    [(Reply({"detail": "Not Found"}, 404), "status 404: "), (Reply({"data": []}), "its list is empty")],
)
def test_a_server_that_lists_no_models_is_said_to_list_none(reply: Reply, why: str) -> None:
    with serving(lambda endpoint, body: reply if endpoint == "models" else None) as double:
        about = asyncio.run(about_server(variant(double)))
        assert about["unlisted"].startswith(why)
        (sample,), _ = run(variant(double), CHAT)  # many gateways answer nevertheless
    assert sample.finish == "stop"
    with serving() as double:
        assert "unlisted" not in asyncio.run(about_server(variant(double)))


def test_the_key_goes_into_the_header_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_KEY", KEY)
    echoed = Reply({"error": {"message": f"bad request, key {KEY}"}}, 400)
    with serving(by_turns([echoed])) as double:
        (sample,), facts = run(variant(double, api_key_env="TOY_KEY"), CHAT)
        assert {h["authorization"] for h in double.headers} == {f"Bearer {KEY}"}
    assert sample.error == "status 400: bad request, key ***"
    assert KEY not in str(facts)


def test_a_refused_key_ends_the_variant_without_saying_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_KEY", KEY)
    refusal = Reply({"error": {"message": f"Incorrect API key provided: {KEY}"}}, 401)
    with serving(lambda endpoint, body: refusal) as double, pytest.raises(UserInputError) as raised:
        run(variant(double, api_key_env="TOY_KEY"), CHAT)
    assert "refuses the key" in str(raised.value)
    assert KEY not in str(raised.value)


def test_the_variable_with_the_key_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOY_KEY", raising=False)
    with serving() as double, pytest.raises(UserInputError, match="TOY_KEY, named by api_key_env, is not set"):
        run(variant(double, api_key_env="TOY_KEY"), CHAT)


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("socks5://me:secret@127.0.0.1:9", r"a SOCKS proxy is set \(.*ALL_PROXY.*pip install 'httpx\[socks\]'"),
        ("http://me:secret@127.0.0.1:port", r"no address that can be used \(.*ALL_PROXY.*http://host:port"),
        ("gopher://me:secret@127.0.0.1:9", r"no address that can be used \(.*ALL_PROXY"),
    ],
)
def test_a_proxy_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, proxy: str, said: str) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", proxy)
    with serving() as double, pytest.raises(EngineError, match=said) as raised:
        run(variant(double), CHAT)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("key", [f"{KEY}\n{KEY}", f"{KEY}\u00e9", f"{KEY}\x7f"])
def test_a_key_that_no_header_can_hold_is_refused_without_saying_it(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("TOY_KEY", key)
    with serving() as double, pytest.raises(UserInputError, match="TOY_KEY.* holds a line break or") as raised:
        run(variant(double, api_key_env="TOY_KEY"), CHAT)
    assert not double.headers
    assert KEY not in str(raised.value)


def test_a_key_with_the_line_break_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_KEY", f"{KEY}\n")
    with serving() as double:
        run(variant(double, api_key_env="TOY_KEY"), CHAT)
    assert {h["authorization"] for h in double.headers} == {f"Bearer {KEY}"}


def test_a_long_message_does_not_end_in_half_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_KEY", KEY)
    refusal = Reply({"error": {"message": "x" * (openai_client.MESSAGE_LENGTH - 5) + KEY}}, 400)
    with serving(by_turns([refusal])) as double:
        (sample,), _ = run(variant(double, api_key_env="TOY_KEY"), CHAT)
    assert KEY[:5] not in (sample.error or "")


def refuses_extensions(endpoint: str, body: dict[str, Any]) -> Reply | None:
    unknown = EXTENSIONS & body.keys()
    return Reply({"error": {"message": f"Unrecognized argument: {sorted(unknown)}"}}, 400) if unknown else None


def test_a_server_without_the_extensions() -> None:
    with serving(refuses_extensions) as double:
        (sample,), facts = run(variant(double), CHAT)
    assert sample.text == "4"
    assert facts["sampling_extensions"] is False


def test_a_protocol_that_needs_the_extensions_is_refused_then() -> None:
    needs = replace(CHAT, sampling=replace(GREEDY, top_k=20, temperature=0.6))
    with serving(refuses_extensions) as double, pytest.raises(ModelError, match="sets top_k, which the server"):
        run(variant(double), needs)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_a_reasoning_that_was_parted_off_stands_before_the_answer(field: str) -> None:
    with serving(by_turns([message("It is 4.", **{field: "Two and two"})])) as double:
        (sample,), _ = run(variant(double), replace(CHAT, reasoning_end="</think>"))
    assert sample.text == "<think>Two and two</think>It is 4."
    assert split_reasoning(sample.text, ReasoningSpec())[:3] == ("Two and two", "It is 4.", True)


@pytest.mark.parametrize("content", [None, ""])
def test_a_reasoning_without_an_answer_never_ended(content: str | None) -> None:
    reply = message(content, "length", reasoning_content="Two and two")
    with serving(by_turns([reply])) as double:
        (sample,), _ = run(variant(double), replace(CHAT, reasoning_end="</think>"))
    assert sample.finish == "length"
    assert not split_reasoning(sample.text, ReasoningSpec(), opened=False).ended


@pytest.mark.parametrize("end", [None, "</think>"])
def test_a_reasoning_without_content_is_unanswered_under_any_protocol(end: str | None) -> None:
    reply = message(None, reasoning_content="Maybe. The answer is (C)")
    with serving(by_turns([reply])) as double:
        (sample,), _ = run(variant(double), replace(CHAT, reasoning_end=end))
    for reasoning in ("none", ReasoningSpec()):
        parts = split_reasoning(sample.text, reasoning, opened=False)  # type: ignore[arg-type]
        assert (parts.answer, parts.ended) == ("", False)


def test_content_alone_of_a_server_that_parts_reasonings_is_the_answer() -> None:
    reply = message("The answer is (C)", reasoning_content=None)
    with serving(by_turns([reply, reply])) as double:
        (sample,), _ = run(variant(double), replace(CHAT, reasoning_end="</think>"))
        (plain,), _ = run(variant(double), CHAT)
    assert split_reasoning(sample.text, ReasoningSpec())[:3] == ("", "The answer is (C)", True)
    assert plain.text == "The answer is (C)"


def test_an_answer_that_fills_the_budget_is_cut_off_whatever_the_server_says() -> None:
    reply = message("Hmm. The answer is (C)", "stop")
    for tokens, finish in ((GREEDY.max_tokens, "length"), (GREEDY.max_tokens - 1, "stop")):
        reply.value["usage"]["completion_tokens"] = tokens
        with serving(by_turns([reply])) as double:
            (sample,), _ = run(variant(double), CHAT)
        assert sample.finish == finish


def test_the_tags_are_the_protocol_s() -> None:
    asked = replace(ASKED, reasoning_start="[THINK]")
    with serving(by_turns([message("4", reasoning_content="hm")])) as double:
        (sample,), _ = run(variant(double), replace(CHAT, unrendered=asked, reasoning_end="[/THINK]"))
    assert sample.text == "[THINK]hm[/THINK]4"


def test_no_stop_string_inside_the_reasoning(tokenizer: Path) -> None:
    request = replace(rendered(), sampling=replace(GREEDY, stop=("A",)), reasoning_end="</think>")
    with serving(by_turns([completion("A B</think>C A D", finish="length")])) as double:
        (sample,), _ = run(variant(double, tokenizer), request)
        (body,) = double.asked()
    assert "stop" not in body
    assert (sample.text, sample.finish) == ("A B</think>C ", "stop")


@pytest.mark.parametrize(("told", "kept"), [("toy-2026-01-01", "toy-2026-01-01"), (NAME, None), ("", None), (7, None)])
def test_another_model_s_name_is_kept(tokenizer: Path, told: Any, kept: str | None) -> None:
    def answers(endpoint: str, body: dict[str, Any]) -> Reply | None:
        if endpoint != "completions":
            return None
        reply = echo(body["prompt"]) if body.get("echo") else completion(prompt=len(body["prompt"]))
        reply.value["model"] = told
        return reply

    scored = replace(CHAT, item="scored", scored=(((5,), (6,)),), unrendered=None)
    with serving(answers) as double:
        samples, _ = run(variant(double, tokenizer), rendered(), scored)
    assert {s.item: s.served_model for s in samples} == {"q": kept, "scored": kept}


def test_a_text_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "It is "}, {"type": "text", "text": "4."}]
    with serving(by_turns([message(parts), message([])])) as double:
        samples, _ = run(variant(double, concurrency=1), CHAT, CHAT)
    assert [(s.text, s.finish) for s in samples] == [("It is 4.", "stop"), ("", "stop")]


@pytest.mark.parametrize(("told", "finish"), [("length", "length"), ("content_filter", "error"), (None, "error")])
def test_why_it_ended(told: Any, finish: str) -> None:
    with serving(by_turns([message("4", told)])) as double:
        (sample,), _ = run(variant(double), CHAT)
    assert sample.finish == finish
    assert (sample.error is None) == (finish != "error")


def test_log_likelihoods_of_echoed_tokens(tokenizer: Path) -> None:
    scored = (((5, 6), (8, 10)), ((5, 6), (8, 11)))
    with serving() as double:
        (sample,), facts = run(variant(double, tokenizer), replace(CHAT, scored=scored, unrendered=None))
    assert facts["prompt_logprobs"]
    assert sample.logprobs == ((-1.0, True), (-2.5, False))
    assert sample.prompt_tokens == 4


def likely(ids: list[int], top: int, by_id: bool = True) -> Reply:
    """An echo with so many likely tokens: those from the token's own id on, each less likely than the one before."""
    name = "token_id:{}" if by_id else "t{}"
    best = [{name.format(token + n): -0.5 * (n + 1) for n in range(top)} for token in [*ids[1:], 0]]
    told = {"token_logprobs": [None, *[-0.5] * len(ids)], "top_logprobs": [None, *best]}
    choice = {"text": "", "finish_reason": "length", "logprobs": told}
    return Reply({"choices": [choice], "usage": {"prompt_tokens": len(ids), "completion_tokens": 1}})


@pytest.mark.parametrize(("given", "by_id"), [(4, True), (4, False), (2, True)])
def test_readings_of_echoed_tokens(tokenizer: Path, given: int, by_id: bool) -> None:
    def answers(endpoint: str, body: dict[str, Any]) -> Reply | None:
        return likely(body["prompt"], min(given, body["logprobs"]), by_id) if body.get("echo") else None

    asked = replace(CHAT, scored=(((5, 6), (8, 11)),), unrendered=None, reading=Reading(4))
    with serving(answers) as double:
        (sample,), _ = run(variant(double, tokenizer), asked)
    if given < 4:
        assert "tells of 2 likely tokens where 4 are asked for" in str(sample.error)
        return
    arrays = arrays_of(sample)
    assert arrays["chosen"].tolist() == [-0.5, -0.5]
    assert arrays["logprobs"].tolist() == [[-0.5, -1.0, -1.5, -2.0]] * 2
    assert (arrays["ids"].tolist() == [[8, 9, 10, 11], [11, 12, 13, 14]]) == by_id
    assert arrays["ids"][0, 3] == arrays["ids"][1, 0]  # the same name is the same number


def test_a_server_without_log_probabilities_gives_no_reading(tokenizer: Path) -> None:
    asked = replace(CHAT, scored=(((5, 6), (8, 11)),), unrendered=None, reading=Reading(4))
    refusal = Reply({"error": {"message": "echo is not supported"}}, 400)
    with serving(lambda endpoint, body: refusal if body.get("echo") else None) as double:
        (sample,), _ = run(variant(double, tokenizer), asked)
    assert "gives no log-probabilities of a prompt" in str(sample.error)


@pytest.mark.parametrize("how", ["refuses", "wrong length", "nothing", "null", "a list", "words"])
def test_a_server_without_log_probabilities_is_refused_for_such_tasks(tokenizer: Path, how: str) -> None:
    def answers(endpoint: str, body: dict[str, Any]) -> Reply | None:
        if not body.get("echo"):
            return None
        reply = echo(body["prompt"])
        if how == "wrong length":
            return echo(body["prompt"][:-3])
        if how == "nothing":
            reply.value["choices"][0]["logprobs"] = None
        if how == "null":
            reply.value["choices"][0]["logprobs"]["token_logprobs"][2] = None
        if how == "a list":
            reply.value["choices"][0]["logprobs"] = [1]
        if how == "words":
            reply.value["choices"][0]["logprobs"]["top_logprobs"][2] = {"x": "likely"}
        return Reply({"error": "echo is not supported"}, 400) if how == "refuses" else reply

    with serving(answers) as double:
        given = variant(double, tokenizer)
        (sample,), facts = run(given, rendered())
        assert (sample.text, facts["prompt_logprobs"]) == ("4", False)
        with pytest.raises(ModelError, match="log-likelihood of given texts, which the server"):
            run(given, replace(CHAT, scored=(((5,), (6,)),), unrendered=None))


def test_what_does_not_fit_is_not_sent(tokenizer: Path) -> None:
    with serving(max_model_len=20) as double:
        (sample,), facts = run(variant(double, tokenizer), rendered(9))
        assert not double.asked()
    assert facts["max_model_len"] == 20
    assert "9 prompt tokens and max_tokens 16 do not fit into the model's 20 tokens" in (sample.error or "")


def test_as_many_at_once_as_the_study_says() -> None:
    def answers(endpoint: str, body: dict[str, Any]) -> Reply | None:
        return replace(message("4"), seconds=0.05) if body.get("max_tokens") != 1 else None

    with serving(answers) as double:
        samples, _ = run(variant(double, concurrency=6), *(replace(CHAT, item=f"q{n}") for n in range(30)))
        assert double.most == 6
    assert len({s.item for s in samples}) == 30


def test_a_server_that_counts_nothing() -> None:
    silent = Reply({"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}]})
    with serving(lambda endpoint, body: silent if endpoint == "chat/completions" else None) as double:
        (sample,), facts = run(variant(double, endpoint="chat"), CHAT)
    assert (sample.text, sample.tokens, sample.prompt_tokens, facts["usage_reported"]) == ("4", None, None, False)


@pytest.mark.parametrize("usage", [[1], "many", {}, *({"completion_tokens": n} for n in (math.nan, 3.0, -5, True))])
def test_a_count_that_is_none_is_unknown(usage: Any) -> None:
    reply = message("4")
    reply.value["usage"] = usage
    with serving(by_turns([reply])) as double:
        (sample,), _ = run(variant(double), CHAT)
    assert (sample.text, sample.tokens) == ("4", None)


STUDY = """
study: served
variants:
  bf16: {model: toy, baseline: true}
  fp8: {model: toy-fp8}
engine: {kind: openai, base_url: "URL", api_key_env: TOY_KEY, concurrency: 4}
benchmarks: [{name: math500, data: math.jsonl}]
"""


def served_study(folder: Path, url: str, text: str = STUDY) -> Path:
    write_jsonl(folder / "math.jsonl", math_rows(12))
    study = folder / "study.yaml"
    study.write_text(text.replace("URL", url), encoding="utf-8")
    return study


def two_models(chat: Callable[[dict[str, Any]], Reply]) -> Callable[[str, dict[str, Any]], Reply | None]:
    """A server with the two models of `STUDY` that can only be asked in chat."""

    def answers(endpoint: str, body: dict[str, Any]) -> Reply | None:
        if endpoint == "models":
            return Reply({"data": [{"id": "toy"}, {"id": "toy-fp8"}]})
        return chat(body) if endpoint == "chat/completions" else None

    return answers


def test_a_study_over_two_servers_models(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any tokenizer: the exam is asked in chat, the report says what nobody can prove, no file has the key."""
    monkeypatch.setenv("TOY_KEY", KEY)

    def chat(body: dict[str, Any]) -> Reply:
        number = body["messages"][-1]["content"].partition("What is ")[2].partition(" ")[0] or "0"
        wrong = body["model"] == "toy-fp8" and number in ("3", "4", "5")
        return message(f"It is \\boxed{{{2 * int(number) + wrong}}}.")

    run_folder = tmp_path / "run"
    with serving(two_models(chat)) as double:
        cli("run", served_study(tmp_path, double.url), "--out", run_folder)
    results = json.loads((run_folder / "results.json").read_text(encoding="utf-8"))
    entry = results["benchmarks"]["math500"]
    assert (entry["scores"]["bf16"]["mean"], entry["scores"]["fp8"]["mean"]) == (1.0, 0.75)
    guards = [g for g in entry["guards"] if g["name"] == "unproved"]
    assert [g["variant"] for g in guards] == ["bf16", "fp8"]
    assert "chat template" in guards[0]["message"]
    assert not [p for p in run_folder.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]


def test_what_a_server_does_not_count_and_another_model_are_told(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the second variant one answer has no count and is another model's; its sums are unknown, never less."""
    monkeypatch.setenv("TOY_KEY", KEY)

    def chat(body: dict[str, Any]) -> Reply:
        reply = message("It is \\boxed{4}.")
        if body.get("model") == "toy-fp8" and "What is 7 " in body["messages"][-1]["content"]:
            del reply.value["usage"]
            reply.value["model"] = "cheap-mini"
        return reply

    run_folder = tmp_path / "run"
    with serving(two_models(chat)) as double:
        cli("run", served_study(tmp_path, double.url, STUDY + "protocol: {max_tokens: 64}\n"), "--out", run_folder)
    results = json.loads((run_folder / "results.json").read_text(encoding="utf-8"))
    entry = results["benchmarks"]["math500"]
    for name, tokens in (("bf16", 36), ("fp8", None)):
        assert entry["scores"][name]["output_tokens"] == tokens
        assert results["variants"][name]["generation"]["output_tokens"] == tokens
    said = {g["variant"]: g["message"] for g in entry["guards"] if g["name"] == "unproved"}
    assert "no count of tokens for 1 of 12 answers" in said["fp8"]
    assert "asked for 'toy-fp8' it names cheap-mini as the model of 1 of 12 answers" in said["fp8"]
    assert {g["level"] for g in entry["guards"] if g["name"] == "unproved"} == {"warning"}
    assert "count" not in said["bf16"]
    assert "names" not in said["bf16"]


def test_continuations_cannot_be_scored_without_tokens(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_KEY", KEY)
    text = STUDY.replace("{name: math500, data: math.jsonl}", "smoke")
    ended = cli("run", served_study(tmp_path, "http://127.0.0.1:9/v1", text), "--out", tmp_path / "run")
    assert ended.code == 2
    assert "smoke needs the log-likelihood of given texts" in ended.err


BAD = {
    "no address": ('base_url: "URL", ', "", "needs the server's address"),
    "no http address": ("URL", "localhost:8000", "no http address"),
    "a password in the address": ("URL", "http://me:secret@host/v1", "neither user nor key"),
    "a key in the address": ("URL", "http://host/v1?key=sk-1234", "neither user nor key"),
    "the key itself": ("TOY_KEY", "sk-1234567890-abc", "the name of the variable that holds the key, not the key"),
    "what the server decides": ("concurrency: 4", "quantization: fp8", "cannot set quantization: the server decides"),
    "another engine": ("kind: openai", "kind: vllm", "engine vllm takes no base_url, api_key_env, concurrency"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_studies_are_refused_in_one_line(cli: Cli, tmp_path: Path, name: str) -> None:
    old, new, said = BAD[name]
    ended = cli("run", served_study(tmp_path, "http://host/v1", STUDY.replace(old, new)))
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert said in ended.err
    assert "sk-1234" not in ended.err
    assert "secret" not in ended.err


def test_a_name_at_a_server_is_no_path(tmp_path: Path) -> None:
    path = served_study(tmp_path, "http://host/v1/", STUDY.replace("toy-fp8", "/m/a/b"))
    study = load_study(path)
    assert (study.variants["fp8"].model, study.variants["fp8"].engine.base_url) == ("/m/a/b", "http://host/v1")
