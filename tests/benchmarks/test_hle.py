from __future__ import annotations

import asyncio
import http.server
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from support import Cli, write_jsonl, write_yaml

from bitparity.benchmarks.contract import JudgeSettings
from bitparity.benchmarks.hle import SYSTEM_PROMPT, Hle, is_mathematical, text_key
from bitparity.benchmarks.judging import Judgment, judge_prompt, judged, read_reply
from bitparity.benchmarks.registry import load_benchmark
from bitparity.engines import judge_client, openai_client
from bitparity.errors import DataError, StudyError
from bitparity.grading import judge as judging
from bitparity.grading.rules import Job, grade_sample
from bitparity.progress.events import Events
from bitparity.records import Completion, Grade, Item, Sample
from bitparity.schema import BenchmarkSpec
from bitparity.store.run import Run
from bitparity.study.resolve import parse_study

KEY = "sk-secretsecret"
QUESTIONS = (
    ("exactMatch", "What is {n} + {n}?", "{sum}"),
    ("multipleChoice", "Which?\n\nAnswer Choices:\nA. {n} apples\nB. {n} pears\nC. none\nD. all\nE. some", "C"),
)


def rows(count: int = 6, images: tuple[int, ...] = (1,)) -> list[dict[str, Any]]:
    """Made up, in the canonical schema."""
    made = []
    for n in range(count):
        kind, question, answer = QUESTIONS[n % 3 == 2]
        made.append(
            {
                "id": f"q{n}",
                "question": question.format(n=n),
                "image": "data:image/png;base64,AAAA" if n in images else "",
                "answer": answer.format(sum=2 * n),
                "answer_type": kind,
                "category": "Math" if n % 2 else "Other",
                "canary": "made up",
            }
        )
    return made


def spec(data: Path | None = None, judge: dict[str, Any] | None = None, **entry: Any) -> BenchmarkSpec:
    given: dict[str, Any] = {"name": "hle", **entry}
    given |= {"data": str(data)} if data else {}
    given |= {"settings": {"judge": judge}} if judge else {}
    study = {"study": "s", "variants": {"a": {"model": "some/model"}}, "benchmarks": [given]}
    return parse_study(json.dumps(study), "test", Path.cwd()).benchmarks[0]


def graded(text: str, answer: str, letters: str | None = None, **more: Any) -> Grade:
    return load_benchmark(spec()).grade(Item("1", (), answer, metadata={"letters": letters}), Completion(text, **more))


# ---------------------------------------------------------------- items


def test_questions_with_an_image_are_left_out_and_counted(tmp_path: Path) -> None:
    bench = load_benchmark(spec(write_jsonl(tmp_path / "hle.jsonl", rows(6, images=(1, 4)))))
    items = list(bench.items())
    assert [item.id for item in items] == ["q0", "q2", "q3", "q5"]
    assert items[0].prompts[0].messages == (
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": "What is 0 + 0?"},
    )
    assert (items[0].reference, items[0].subgroup, items[0].metadata["letters"]) == ("0", "Other", None)
    assert (items[1].reference, items[1].metadata["letters"]) == ("C", "ABCDE")
    assert (bench.provenance()["rows"], bench.provenance()["images_left_out"]) == (6, 2)
    assert any("2 questions show an image" in note for note in bench.notes())
    assert (Hle.source.rows, Hle.info.items) == (2500, 2158)


@pytest.mark.parametrize("change", [{"answer_type": "essay"}, {"answer": ""}, {"image": None}])
def test_rows_that_cannot_be_asked(tmp_path: Path, change: dict[str, Any]) -> None:
    row = {**rows(1)[0], **change}
    if change.get("image", "") is None:
        del row["image"]
    with pytest.raises(DataError, match=r"answer_type 'essay'|field answer must be|field image missing"):
        list(load_benchmark(spec(write_jsonl(tmp_path / "hle.jsonl", [row]))).items())


def test_a_choice_whose_key_is_no_letter_is_compared_as_text(tmp_path: Path) -> None:
    row = {**rows(3)[2], "answer": "none of them"}
    (item,) = load_benchmark(spec(write_jsonl(tmp_path / "hle.jsonl", [row]))).items()
    assert (item.reference, item.metadata["letters"]) == ("none of them", None)


# ---------------------------------------------------------------- exact match


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        ("42", "42"),
        ("**42**", "42"),
        ("42.", "42"),
        ("42.0", "42"),
        ("1,320", "1320"),
        ("$\\frac{1}{2}$", "0.5"),
        ("$\\boxed{\\frac{1}{2}}$", "1/2"),
        ("x = 5", "5"),
        ("$$x^2 + 2x + 1$$", "(x+1)^2"),
        ("$\\sqrt{8}$", "$2\\sqrt{2}$"),
        ("12 apples", "12"),
        ("Rhabdomyolysis", "rhabdomyolysis"),
        ("The Treaty of Westphalia.", "Treaty of Westphalia"),
        ("“Guernica”", "Guernica"),
        ("*E. coli*", "E. coli"),
        ("Ｂ１２", "B12"),
        ("$\\text{Paris}$", "Paris"),
        ("\n\n42\n", "42"),
        ("(1, 2, 3)", "(1,2,3)"),
        ("Yes", "yes"),
    ],
)
def test_right(answer: str, key: str) -> None:
    grade = graded(f"Explanation: since so.\nAnswer: {answer}\nConfidence: 90%", key)
    assert (grade.score, grade.status) == (1, "answered"), grade


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        ("41", "42"),
        ("Paris or London", "Paris"),
        ("east", "seat"),
        ("about three of the five in all of them", "5"),
        ("0.33", "1/3"),
        ("the capital of the country is Paris", "Paris"),
        ("5", "Approximately 5 months"),
        ("2, 3", "3"),
        ("No", "Yes"),
        ("-5", "5"),
    ],
)
def test_wrong(answer: str, key: str) -> None:
    grade = graded(f"Explanation: since so.\nAnswer: {answer}\nConfidence: 90%", key)
    assert (grade.score, grade.status) == (0, "answered"), grade


@pytest.mark.parametrize(
    ("text", "score", "status"),
    [
        ("Explanation: it is 41.\nAnswer: 41\n\nNo.\n\nAnswer: 42\nConfidence: 3%", 1, "answered"),
        ("**Answer:** 42\n**Confidence:** 90%", 1, "answered"),
        ("Exact Answer: 42\nConfidence: 90%", 1, "answered"),
        ("So it is \\boxed{42}.", 1, "answered"),
        ("The answer is 42.", 1, "answered"),
        ("I cannot tell", 0, "no_answer"),
        ("", 0, "no_answer"),
    ],
)
def test_where_the_answer_stands(text: str, score: float, status: str) -> None:
    grade = graded(text, "42")
    assert (grade.score, grade.status) == (score, status)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Explanation: A is wrong.\nAnswer: C\nConfidence: 70%", 1),
        ("Answer: C. none\nConfidence: 70%", 1),
        ("Answer: **(C)**", 1),
        ("Answer: D\nConfidence: 70%", 0),
        ("Answer: none\nConfidence: 70%", 0),
    ],
)
def test_multiple_choice_is_by_letter(text: str, score: float) -> None:
    assert graded(text, "C", letters="ABCDE").score == score


def test_keys_and_their_kind() -> None:
    assert text_key("**The  Answer**") == "answer"
    assert all(map(is_mathematical, ["42", "\\frac{1}{2}", "x^2 \\sin x", "5 km", "(1,2)"]))
    assert not any(map(is_mathematical, ["Paris", "5 months", "", "  ", "E. coli"]))


def test_a_cut_off_answer_has_none() -> None:
    bench = load_benchmark(spec())
    item = Item("1", (), "42", metadata={"letters": None})
    sample = Sample("hle", "1", 0, "Explanation: 40 + 2 = 42", "length", 9, 9, 0.1)
    grade = grade_sample(bench, item, sample, bench.spec.protocol)
    assert (grade.score, grade.status) == (0, "cut_off")


# ---------------------------------------------------------------- what a judge says


@pytest.mark.parametrize(
    ("reply", "correct", "extracted"),
    [
        ("extracted_final_answer: 42\n\nreasoning: same\n\ncorrect: yes\n\nconfidence: 90", True, "42"),
        ("**extracted_final_answer:** None\n**reasoning:** -\n**correct:** No", False, "None"),
        ('{"extracted_final_answer": "42", "reasoning": "r", "correct": "yes", "confidence": 90}', True, "42"),
        ('```json\n{"correct": "no", "extracted_final_answer": "41"}\n```', False, "41"),
        ("<think>correct: no, hm</think>correct: yes", True, None),
        ("[correct_answer]: Yes\ncorrect: no", False, None),
        ("correct: yes\ncorrect: no", None, None),
        ("correct: perhaps", None, None),
        ("yes", None, None),
        ("", None, None),
        ('{"correct": "maybe"}', None, None),
    ],
)
def test_replies(reply: str, correct: bool | None, extracted: str | None) -> None:
    found = read_reply(reply)
    assert (found.correct, found.extracted) == (correct, extracted)
    assert (found.error is None) == (correct is not None)


def test_the_prompt_keeps_braces() -> None:
    prompt = judge_prompt("What is {x}?", "It is {y}", "{z}")
    assert "[question]: What is {x}?" in prompt
    assert "[response]: It is {y}" in prompt
    assert "[correct_answer]: {z}" in prompt


def test_what_a_verdict_does() -> None:
    plain = Grade(0.0, "no_answer", None, {"exact_match": 0.0})
    yes, failed = Judgment(True, "42"), Judgment(None, error="overloaded")
    assert judged(plain, yes, primary=True) == Grade(1.0, "answered", "42", {"exact_match": 0.0, "judge": 1.0})
    assert judged(plain, yes, primary=False).score == 0
    unscored = judged(plain, failed, primary=True)
    assert (unscored.score, unscored.status, unscored.metrics) == (None, "infrastructure_error", {"exact_match": 0.0})
    assert "overloaded" in unscored.details["error"]
    beside = judged(plain, failed, primary=False)
    assert (beside.score, "judge" in beside.metrics) == (0, False)
    none = judged(plain, Judgment(False, "None"), primary=True)
    assert (none.score, none.status) == (0, "no_answer")
    dead = Grade(None, "infrastructure_error", details={"error": "out of memory"})
    assert judged(dead, None, primary=True) == dead


@pytest.mark.parametrize(
    "judge",
    [
        {"base_url": "ftp://x", "model": "m"},
        {"base_url": "https://user:pass@x/v1", "model": "m"},
        {"base_url": "https://x/v1?key=1", "model": "m"},
        {"base_url": "https://x/v1"},
        {"base_url": "https://x/v1", "model": "m", "api_key": "sk-1"},
    ],
)
def test_a_judge_that_cannot_be(judge: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match="judge"):
        spec(judge=judge)


# ---------------------------------------------------------------- an endpoint, played by a small server


class Endpoint(http.server.BaseHTTPRequestHandler):
    """Answers chat completions; `script` holds (status, headers) for the next requests before it does."""

    script: ClassVar[list[tuple[int, dict[str, str]]]] = []
    asked: ClassVar[list[dict[str, Any]]] = []
    keys: ClassVar[list[str | None]] = []
    reply: ClassVar[Any] = ""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body)
        self.keys.append(self.headers.get("Authorization"))
        if self.script:
            status, headers = self.script.pop(0)
            self.send(status, {"error": {"message": f"bad key {KEY}"}}, headers)
            return
        prompt = body["messages"][0]["content"]
        verdict = "yes" if "Answer: right" in prompt else "no"
        text = self.reply or f"extracted_final_answer: x\nreasoning: r\ncorrect: {verdict}\nconfidence: 1"
        answer = {"model": "judge-2026", "choices": [{"message": {"content": text}}], "usage": {"completion_tokens": 7}}
        self.send(200, answer, {})

    def send(self, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(raw))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in (("script", []), ("asked", []), ("keys", []), ("reply", "")):
        monkeypatch.setattr(Endpoint, name, value)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole runs grade here: starting workers takes seconds, and other tests have them."""
    monkeypatch.setattr(Hle, "slow_grader", False)


def ask(endpoint: str, waits: list[float] | None = None, **more: Any) -> dict[str, Any]:
    async def wait(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)

    async def asked() -> dict[str, Any]:
        judge = judge_client.Judge(JudgeSettings(base_url=endpoint, model="m", **more))
        try:
            return (await judge.ask("Answer: right"))[1]
        finally:
            await judge.aclose()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai_client, "sleep", wait)
        patch.setattr(openai_client.random, "uniform", lambda *_: 1.0)
        return asyncio.run(asked())


def test_a_verdict_and_its_record(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    row = ask(endpoint, api_key_env="JUDGE_KEY", temperature=0)
    assert (row["correct"], row["served_model"], row["attempts"], row["tokens"]) == (True, "judge-2026", 1, 7)
    assert (row["prompt"], "correct: yes" in row["reply"]) == ("Answer: right", True)
    assert Endpoint.keys == [f"Bearer {KEY}"]
    assert Endpoint.asked[0] == {
        "model": "m",
        "messages": [{"role": "user", "content": "Answer: right"}],
        "max_completion_tokens": 4096,
        "temperature": 0,
    }
    assert KEY not in json.dumps(row)


def test_passing_failures_are_tried_again_with_growing_pauses(endpoint: str) -> None:
    Endpoint.script += [(503, {}), (429, {"Retry-After": "7"}), (500, {})]
    waits: list[float] = []
    assert ask(endpoint, waits)["correct"] is True
    assert waits == [1, 7, 4]
    assert Endpoint.keys == [None] * 4


def test_lasting_failures_give_no_verdict(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    Endpoint.script += [(503, {})] * 9
    waits: list[float] = []
    row = ask(endpoint, waits, api_key_env="JUDGE_KEY")
    assert (row["correct"], row["attempts"], len(waits)) == (None, judge_client.RETRIES + 1, judge_client.RETRIES)
    assert "status 503" in row["error"]
    assert KEY not in json.dumps(row)


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_a_refusal_stops_the_asking(endpoint: str, status: int) -> None:
    Endpoint.script += [(status, {"Location": "http://127.0.0.1:9/"})]
    with pytest.raises(judge_client.RefusedError, match=f"status {status}"):
        ask(endpoint)


def test_a_reply_that_is_no_text_is_no_verdict(endpoint: str) -> None:
    Endpoint.reply = [{"type": "text", "text": "correct: yes"}]
    row = ask(endpoint)
    assert (row["correct"], row["attempts"]) == (None, judge_client.RETRIES + 1)
    assert "an answer that is no text" in row["error"]


def test_other_failures(endpoint: str) -> None:
    Endpoint.script += [(400, {})]
    assert (ask(endpoint)["attempts"], len(Endpoint.asked)) == (1, 1)
    Endpoint.reply = "I would rather not say"
    assert ask(endpoint)["error"].startswith("the judge's reply has no clear")
    gone = ask("http://127.0.0.1:9/v1")
    assert (gone["correct"], gone["attempts"]) == (None, judge_client.RETRIES + 1)
    assert "the connection failed" in gone["error"]


# ---------------------------------------------------------------- a whole run


def judged_study(folder: Path, endpoint: str, **judge: Any) -> Path:
    """Recorded answers: `a` has all right for the judge, `b` half; nothing is right word for word."""
    data = write_jsonl(folder / "hle.jsonl", rows(8))
    for name, wrong in (("a", set()), ("b", {0, 3, 5})):
        said = [
            {"item": f"q{n}", "text": f"Explanation: -\nAnswer: {'wrong' if n in wrong else 'right'}\nConfidence: 50%"}
            for n in range(8)
        ]
        write_jsonl(folder / f"{name}.jsonl", [{**row, "finish": "stop", "tokens": 9} for row in said])
    settings = {"judge": {"base_url": endpoint, "model": "m", **judge}}
    study = {
        "study": "judged",
        "variants": {"a": {"model": "a.jsonl", "baseline": True}, "b": {"model": "b.jsonl"}},
        "engine": {"kind": "replay"},
        "benchmarks": [{"name": "hle", "data": data.name, "settings": settings}],
    }
    return write_yaml(folder / "study.yaml", study)


def entry_of(run: Path) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads((run / "results.json").read_text())["benchmarks"]["hle"]
    return entry


def everything_in(run: Path) -> str:
    return "".join(path.read_text() for path in run.rglob("*") if path.is_file())


@pytest.mark.usefixtures("in_process")
def test_a_judged_run_is_kept_resumed_and_regraded(
    cli: Cli, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    study, run = judged_study(tmp_path, endpoint, api_key_env="JUDGE_KEY"), tmp_path / "run"
    done = cli("run", study, "--out", run)
    assert (run / "results.json").exists(), done
    entry = entry_of(run)
    assert (entry["metric"], entry["items"]) == ("judge", 7)
    assert [entry["scores"][name]["mean"] for name in "ab"] == [1.0, pytest.approx(4 / 7)]
    assert entry["scores"]["a"]["metrics"] == {"exact_match": 0.0, "judge": 1.0}
    assert (entry["comparisons"]["b"]["lost"], entry["data"]["images_left_out"]) == (3, 1)
    assert entry["data"]["judge"]["model"] == "m"
    assert any(guard["name"] == "graders_disagree" for guard in entry["guards"])
    assert len(Endpoint.asked) == 14
    assert KEY not in everything_in(run)
    stored = [json.loads(line) for line in (run / "judgments" / "b" / "hle.jsonl").read_text().splitlines()]
    assert Counter(row["correct"] for row in stored) == {True: 4, False: 3}
    cli("run", study, "--out", run)
    assert cli("grade", run).code in (0, 1, 3)
    assert len(Endpoint.asked) == 14  # verdicts are kept
    assert entry_of(run)["scores"] == entry["scores"]


@pytest.mark.parametrize(("opened", "asked"), [(False, ["q0", "q1"]), (True, ["q1"]), (None, ["q1"])])
def test_the_judge_sees_answers_only(endpoint: str, tmp_path: Path, opened: bool | None, asked: list[str]) -> None:
    """q0 has no tag, q1 both, q2's reasoning never ended."""
    data = write_jsonl(tmp_path / "hle.jsonl", rows(3, images=()))
    given = spec(data, {"base_url": endpoint, "model": "m"}, reasoning={"start": "<think>", "end": "</think>"})
    bench = load_benchmark(given)
    items = {item.id: item for item in bench.items()}
    texts = ("Answer: right", "<think>secret</think>Answer: right", "<think>secret Answer: right")
    samples = [Sample("hle", f"q{n}", 0, text, "stop", 9, 9, 0.1) for n, text in enumerate(texts)]
    jobs = [Job(bench, items[sample.item], sample, given.protocol, opened) for sample in samples]
    found = judging.judge_samples(Run(tmp_path), bench, "a", jobs, Events(), ask=True)
    stored = [json.loads(line) for line in (tmp_path / "judgments" / "a" / "hle.jsonl").read_text().splitlines()]
    assert sorted(row["item"] for row in stored) == asked
    assert not any("secret" in row["prompt"] for row in stored)
    assert {key[0]: judgment.correct for key, judgment in found.items()} == {
        f"q{n}": f"q{n}" in asked for n in range(3)
    }


@pytest.mark.usefixtures("in_process")
def test_the_judges_failures_are_unscored_and_tried_again(cli: Cli, endpoint: str, tmp_path: Path) -> None:
    study, run = judged_study(tmp_path, endpoint), tmp_path / "run"
    Endpoint.script += [(400, {})] * 2
    assert cli("run", study, "--out", run).code == 3
    scores = entry_of(run)["scores"]["a"]
    assert (scores["unscored"], scores["mean"]) == (2, 1.0)
    assert any("status 400" in reason for reason in scores["errors"])
    cli("run", study, "--out", run)
    assert (entry_of(run)["scores"]["a"]["unscored"], len(Endpoint.asked)) == (0, 16)


@pytest.mark.usefixtures("in_process")
def test_a_refused_key_leaves_all_unscored(cli: Cli, endpoint: str, tmp_path: Path) -> None:
    study, run = judged_study(tmp_path, endpoint), tmp_path / "run"
    Endpoint.script += [(401, {})] * 40
    assert cli("run", study, "--out", run).code == 3
    entry = entry_of(run)
    assert entry["status"] == "not_run" or entry["scores"]["a"]["unscored"] == 7
    Endpoint.script.clear()
    cli("run", study, "--out", run)
    assert entry_of(run)["scores"]["a"]["mean"] == 1.0


def test_a_key_that_is_not_set_stops_before_anything_runs(cli: Cli, endpoint: str, tmp_path: Path) -> None:
    ended = cli("run", judged_study(tmp_path, endpoint, api_key_env="NO_SUCH_KEY"), "--out", tmp_path / "run")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "NO_SUCH_KEY, named by api_key_env, is not set" in ended.err
    assert not (tmp_path / "run" / "samples").exists()


def test_a_key_that_no_header_can_hold_stops_before_anything_runs(
    cli: Cli, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWO_KEYS", f"{KEY}\n{KEY}")
    ended = cli("run", judged_study(tmp_path, endpoint, api_key_env="TWO_KEYS"), "--out", tmp_path / "run")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "TWO_KEYS, named by api_key_env, holds a line break" in ended.err
    assert KEY not in ended.err


@pytest.mark.usefixtures("in_process")
def test_no_question_is_in_the_report(cli: Cli, endpoint: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    cli("run", judged_study(tmp_path, endpoint), "--out", run)
    for name in ("report.md", "results.json"):
        text = (run / name).read_text()
        assert not any(row["question"][:12] in text for row in rows(8)), name
    assert "show an image and are left out" in (run / "report.md").read_text()
