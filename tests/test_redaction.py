"""Twelve planted secrets, sent back by a server in every way: none is in a file or on the terminal."""

from __future__ import annotations

import base64
import gzip
import html
import json
import os
import random
import re
import string
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from openai_double import Reply, message, serving
from support import math_rows, write_jsonl

from bitparity import redaction
from bitparity.report.exports import formats

SECRETS = {
    "ENGINE_KEY": "sk-engine-51f0c3b2a1d4e5f6",
    "OTHER_KEY": 'q"uo\\te/and+plus=&am%p<9Xy',
    "THIRD_KEY": "with spaces in-8c21 it 77",
    "HF_TOKEN": "hf_pLaNtEdToKeNaBcDeFgH",
    "HUGGING_FACE_HUB_TOKEN": "hf_oLdNaMeOfIt99887766",
    "OPENAI_API_KEY": "sk-proj-zZyYxXwWvVuU0123",
    "HTTP_PROXY": "http://me:Pr0xyPass1word@127.0.0.1:9",
    "HTTPS_PROXY": "http://me:p%40ss%2Fw0rd%23two@127.0.0.1:9",
    "ALL_PROXY": "socks5://me:third.Secret-42@127.0.0.1:9",
    "http_proxy": "http://me:lowerCaseProxy5@127.0.0.1:9",
    "https_proxy": "http://me:lowerCase%20Proxy6@127.0.0.1:9",
}
LOGIN = "hf_sToReDlOgInToKeN4321"
PLAIN = [
    *(SECRETS[name] for name in ("ENGINE_KEY", "OTHER_KEY", "THIRD_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")),
    *(SECRETS["OPENAI_API_KEY"], "Pr0xyPass1word", "p@ss/w0rd#two", "third.Secret-42", "lowerCaseProxy5"),
    *("lowerCase Proxy6", LOGIN),
]


def forms(secret: str) -> Iterator[str]:
    """The ways in which a server may send a secret back."""
    yield from (secret, json.dumps(secret)[1:-1], json.dumps(json.dumps(secret))[3:-3], html.escape(secret))
    yield from (quote(secret), quote(secret, safe=""), quote_plus(secret), secret.encode().hex())
    raw = secret.encode()
    yield from (raw.hex().upper(), "".join(f"%{b:02X}" for b in raw), base64.b32encode(raw).decode())
    yield "".join(f"\\u{ord(c):04x}" for c in secret)
    for before in ("", "u:", "user:", "Bearer "):
        yield base64.b64encode(f"{before}{secret} and more".encode()).decode()


def leaks(secret: str, text: str) -> list[str]:
    """The forms of a secret that a text holds, also where only its middle is in base64."""
    core = [base64.b64encode(b"x" * n + secret.encode())[4:-4].decode() for n in range(3)]
    return [form for form in (*list(forms(secret))[:12], *core) if form in text]


STUDY = """
study: served
variants:
  bf16: {model: toy, baseline: true}
  fp8: {model: toy-fp8, engine: {api_key_env: OTHER_KEY}}
  int8: {model: toy-int8, engine: {api_key_env: THIRD_KEY}}
engine: {kind: openai, base_url: "URL", api_key_env: ENGINE_KEY, concurrency: 4, retries: 1}
benchmarks: [{name: math500, data: math.jsonl}]
"""


def echo_server() -> Any:
    """A server that names its models after keys, and answers and fails with all of them."""
    everything = " ; ".join(form for secret in PLAIN for form in forms(secret))
    halves = " / ".join(f"{secret[: len(secret) // 2]}-{secret[len(secret) // 2 :]}" for secret in PLAIN)

    def answers(endpoint: str, body: dict[str, Any]) -> Reply | None:
        if endpoint == "models":
            names = [{"id": name, "owned_by": everything, "root": halves} for name in ("toy", "toy-fp8", "toy-int8")]
            return Reply({"data": [*names, *({"id": form} for secret in PLAIN for form in forms(secret))]})
        if endpoint == "/version":
            return Reply({"version": f"1.0+{PLAIN[0]}"})
        if endpoint != "chat/completions":
            return None
        if "What is 3 " in body["messages"][-1]["content"]:
            return Reply({"error": {"message": f"no such thing: {everything}"}}, 400)
        reply = message(f"{everything} It is \\boxed{{4}}.")
        reply.value["model"] = f"m {everything}"
        reply.value["system_fingerprint"] = halves
        return reply

    return answers


def planted_log(folder: Path) -> Path:
    """A log of lm-eval, whose texts hold all secrets in all forms, but for the keys that a study alone names."""
    everything = " ; ".join(form for secret in PLAIN[3:] for form in forms(secret))
    about = {
        "filter": "none",
        "metrics": ["acc"],
        "target": "1",
        "doc_hash": "x",
        "prompt_hash": "y",
        "target_hash": "z",
    }
    said = {"resps": [[everything]], "filtered_resps": [everything], "arguments": [[everything, {}]]}
    rows = [{"doc_id": n, "doc": {"question": everything}, "acc": n % 2, **about, **said} for n in range(12)]
    folder.mkdir()
    write_jsonl(folder / "samples_arc_easy_2026-01-01T00-00-00.000000.jsonl", rows)
    return folder


def with_unpacked(text: str) -> str:
    """The text of a page together with what is packed in it."""
    packed = re.findall(r"H4sI[A-Za-z0-9+/]+=*", text)
    return "\n".join([text, *(gzip.decompress(base64.b64decode(part)).decode() for part in packed)])


ENDED = "that was a command of its own"
# each command in a process of its own that knows nothing of the others, forked from one that has imported the package
EACH = f"""
import json, os, sys
import bitparity.runner
from bitparity.cli.app import main
for words in json.loads(sys.argv[1]):
    if os.fork() == 0:
        sys.argv = ["bitparity", *words]
        sys.exit(main())
    os.wait()
    print({ENDED!r}, flush=True)
"""


@pytest.mark.slow
def test_no_secret_gets_into_a_file_or_onto_the_terminal(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "math.jsonl", math_rows(6))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text(LOGIN + "\n")
    environment = {**os.environ, **SECRETS, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    del environment["ALL_PROXY"]  # httpx needs another package for it; the lower-case one is not read by httpx alone
    environment |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    out = tmp_path / "run"
    with serving(echo_server()) as double:
        study = tmp_path / "study.yaml"
        study.write_text(STUDY.replace("URL", double.url), encoding="utf-8")
        logs = [planted_log(tmp_path / name) for name in ("one", "two")]
        made = tmp_path / "made"
        made.mkdir()
        table = made / "table.md"
        table.write_text("| | bf16 | fp8 |\n|---|---|---|\n| MATH-500 | | |\n")
        key = ("--key", tmp_path / "home" / "token")  # no SSH key: what is said of it must not quote it
        commands = (
            ("doctor", study),
            ("plan", study, "--rate", "100"),
            ("run", study, "--out", out),
            ("report", out, "--fill", table, "--lang", "zh"),
            ("check", out, "--junit", made / "junit.xml", "--summary", made / "summary.md", "--badge", made / "b.json"),
            ("status", out, "--json"),
            ("grade", out),
            *(("export", out, "--format", form, "--out", made / form) for form in formats()),
            ("distance", study),
            ("locate", study, "--candidate", "fp8"),
            ("seal", out, "--out", made / "sealed.tar.xz"),
            ("seal", out, "--out", made / "other.tar.xz", *key),
            ("verify", made / "sealed.tar.xz"),
            ("verify", made / "sealed.tar.xz", *key),
            ("history", tmp_path, "--out", made / "history.html", "--json", made / "history.json"),
            ("merge", tmp_path / "merged", out),
            ("compare", f"{out}:bf16", f"{out}:fp8", "--html", made / "runs.html", "--json", made / "runs.json"),
            ("compare", *logs, "--html", made / "c.html", "--report", made / "c.md", "--json", made / "c.json"),
        )
        program = [sys.executable, "-c", EACH, json.dumps([list(map(str, words)) for words in commands])]
        done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=1200, check=False)
        said = done.stdout + done.stderr
        assert "Traceback" not in said, said
        assert done.stdout.count(ENDED) == len(commands)
    with tarfile.open(made / "sealed.tar.xz") as sealed:
        sealed.extractall(made / "unpacked", filter="data")
    places = [path for top in (out, made, tmp_path / "merged") for path in top.rglob("*") if path.is_file()]
    files = {path: with_unpacked(path.read_text(encoding="utf-8", errors="replace")) for path in places}
    assert len(files) > 40, said
    assert {path.name for path in made.iterdir()} >= {"sealed.tar.xz", "history.html", "runs.html", "c.html", "c.json"}
    for place in (out / "samples" / "bf16" / "math500.jsonl", made / "c.html"):
        assert "***" in files[place]
    known = [secret for secret in PLAIN if secret != "third.Secret-42"]
    found = {
        (str(place), form)
        for place, text in {**files, "terminal": said}.items()
        for s in known
        for form in leaks(s, text)
    }
    assert not found
    long = [secret for secret in known if len(secret) >= 2 * redaction.SHORTEST]
    cut = [half for s in long for half in (s[: len(s) // 2], s[len(s) // 2 :])]
    assert not [half for half in cut if any(half in text for text in files.values())]


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", {})


@pytest.mark.usefixtures("clean")
def test_a_placeholder_is_no_secret() -> None:
    redaction.remember("EMPTY")
    redaction.remember(None)
    assert redaction.redacted("the set is EMPTY") == "the set is EMPTY"


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("secret", PLAIN)
def test_every_form_is_taken_out_and_nothing_else(secret: str) -> None:
    redaction.remember(secret)
    for form in forms(secret):
        text = redaction.redacted(f"before {form} after")
        assert not leaks(secret, text)
        assert text.startswith("before ")
        assert text.endswith(" after")
    assert redaction.redacted("an answer of (B) and 42") == "an answer of (B) and 42"


@pytest.mark.usefixtures("clean")
def test_keys_named_anywhere_in_a_study_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "aaaa-bbbb-cccc")
    monkeypatch.setenv("B_KEY", "dddd-eeee-ffff")
    redaction.remember_keys({"engine": {"api_key_env": "A_KEY"}, "benchmarks": [{"judge": {"api_key_env": "B_KEY"}}]})
    assert redaction.redacted("aaaa-bbbb-cccc, dddd-eeee-ffff") == "***, ***"


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("length", [24, 36, 51, 164])
def test_a_third_of_a_key_alone_is_taken_out_wherever_it_was_cut(length: int) -> None:
    secret = "".join(random.Random(length).choices(string.ascii_letters + string.digits, k=length))
    redaction.remember(secret)
    least = max(redaction.SHORTEST_PART, length // 3)
    for first in range(length - least + 1):
        for last in range(first + least, length + 1):
            text = redaction.redacted(f"{secret[first:last]} it")
            assert not any(secret[at : at + least] in text for at in range(length - least + 1))
            assert text.endswith(" it")


@pytest.mark.usefixtures("clean")
def test_a_key_that_is_no_text_is_taken_out() -> None:
    """A variable of the environment may hold any bytes; Python shows those that are no UTF-8 as lone surrogates."""
    secret = b"\xff\xfekey-of-bytes".decode("utf-8", "surrogateescape")
    redaction.remember(secret)
    assert redaction.redacted(f"a {secret} b %FF%FEkey-of-bytes c") == "a *** b *** c"
