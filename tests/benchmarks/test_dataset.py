from __future__ import annotations

import gzip
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import SHARED_DATA, replay_study, write_jsonl

from bitparity.benchmarks.contract import Source
from bitparity.benchmarks.dataset import Row, content_hash, load_rows, read_jsonl
from bitparity.errors import DataError

SOURCE = Source("owner/set", "test", "0" * 40)
FIELDS = {"id": (int,), "question": (str,), "options": (list,), "answer": (str, int)}
GOOD = {"id": 1, "question": "q", "options": ["a", "b"], "answer": "A"}


def item_id(row: Row) -> str:
    return str(row["id"])


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        load_rows(str(path), SOURCE, FIELDS, item_id)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(str(path), "FILE")


def line(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode() + b"\n"


def without(*names: str) -> bytes:
    return json.dumps({k: v for k, v in GOOD.items() if k not in names}).encode() + b"\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "FILE is empty"),
        (b"\n \n", "FILE is empty"),
        (line() + b"\n" + line(id=2), "FILE, line 2: the line is empty"),
        (line() + b'{"id": 2, "que\n', "FILE, line 2: broken JSON"),
        (line() + b"[1]\n", "FILE, line 2: list instead of an object"),
        (line() + b"\xff\xfe\n", "FILE, line 2: not UTF-8"),
        (line() + without("answer"), "FILE, line 2: no field answer"),
        (without("answer", "options"), "no field options, answer"),
        (without("id", "question", "options"), "is this a file of another benchmark?"),
        (b"{}\n", "is this a file of another benchmark?"),
        (line(id="1"), 'line 1: field id must be an integer, not "1"'),
        (line(id=True), "field id must be an integer, not true"),
        (line(question=None), "field question must be a text, not null"),
        (line(question="  "), "field question must be a text"),
        (line(options=[]), "field options must be a list of texts, not []"),
        (line(options=["a", 2]), "field options must be a list of texts"),
        (line(answer=[1]), "field answer must be a text or an integer"),
        (line() + line(id=2) + line(), "item id '1' stands twice, in lines 1 and 3"),
        (gzip.compress(line() * 50, mtime=0)[:-12], "FILE is not a whole gzip file"),
        (b"\x1f\x8bnonsense", "FILE is not a whole gzip file"),
        (b"[" * 100_000, "FILE, line 1: broken JSON"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: bytes, says: str) -> None:
    assert says in refused(tmp_path / "data.jsonl", content)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_rows(str(tmp_path / "no.jsonl"), SOURCE, FIELDS)
    with pytest.raises(DataError, match="cannot be read"):
        load_rows(str(tmp_path), SOURCE, FIELDS)


def test_rows_and_provenance(tmp_path: Path) -> None:
    rows = [GOOD, {**GOOD, "id": 2, "more": "kept"}]
    plain = write_jsonl(tmp_path / "a.jsonl", rows)
    zipped = tmp_path / "b.jsonl.gz"
    zipped.write_bytes(gzip.compress(b"\xef\xbb\xbf" + plain.read_bytes().replace(b"\n", b"\r\n")))
    first, second = (load_rows(str(path), SOURCE, FIELDS, item_id) for path in (plain, zipped))
    assert first.rows == second.rows == rows
    assert first.provenance == {"path": str(plain), "rows": 2, "sha256": second.provenance["sha256"]}


def test_the_hash_is_of_the_required_fields_in_order() -> None:
    other = {**GOOD, "id": 2}
    same = content_hash([GOOD, other], FIELDS)
    assert content_hash([{**GOOD, "extra": 1}, dict(reversed(other.items()))], FIELDS) == same
    assert content_hash([other, GOOD], FIELDS) != same
    assert content_hash([GOOD, {**other, "question": "changed"}], FIELDS) != same


WRITABLE = st.characters(codec="utf-8")  # U+2028 and other line ends among them


@given(st.lists(st.dictionaries(st.text(WRITABLE), st.text(WRITABLE) | st.integers() | st.none()), min_size=1))
def test_any_objects_come_back(rows: list[Row]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        file.write(text.encode())
        file.flush()
        assert read_jsonl(Path(file.name)) == rows


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"no shared data at {SHARED_DATA}")
def test_twelve_thousand_rows_are_read() -> None:
    fields = {"question_id": (int,), "question": (str,), "options": (list,), "answer": (str,), "category": (str,)}
    loaded = load_rows(str(SHARED_DATA / "mmlu_pro_test.jsonl.gz"), SOURCE, fields, lambda r: str(r["question_id"]))
    assert loaded.provenance["rows"] == 12032


# ---------------------------------------------------------------- the hub, played by a small server

REVISION = "8d88b2876a82a080e2f172cc9b25d0d9d2cb4792"
ROWS = [b'{"ID": "2024-I-%d", "Problem": "p", "Solution": "s", "Answer": 33}\n' % n for n in range(1, 31)]
LOADS = """
from bitparity.benchmarks.aime24 import Aime24
from bitparity.benchmarks.dataset import load_rows
from bitparity.errors import DataError
try:
    print(*load_rows(None, Aime24.source, Aime24.fields))
except DataError as error:
    print(type(error).__name__, error)
"""


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the hub does: a whole data set of one file, or a refusal with its error code."""

    refusal: ClassVar[tuple[int, str] | None] = None
    rows: ClassVar[int] = 30
    tokens: ClassVar[set[str | None]] = set()

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, body = self.path.partition("?")[0], b"".join(ROWS[: self.rows])
        self.tokens.add(self.headers.get("Authorization"))
        if path in ("", "/"):  # refusals are of a data set: the hub's own page is there
            self.reply(404, b"")
        elif self.refusal:
            self.reply(self.refusal[0], b"{}", {"X-Error-Code": self.refusal[1]})
        elif path.endswith(f"{REVISION}/train.jsonl"):
            self.reply(200, body, {"ETag": '"abc"', "X-Repo-Commit": REVISION})
        elif "/resolve/" in path:
            self.reply(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": REVISION})
        elif "/tree/" in path or "/paths-info/" in path:
            files = [{"type": "file", "oid": "abc", "size": len(body), "path": "train.jsonl"}]
            self.reply(200, json.dumps(files).encode())
        else:
            info = {"id": "Maxwell-Jia/AIME_2024", "sha": REVISION, "siblings": [{"rfilename": "train.jsonl"}]}
            self.reply(200, json.dumps(info).encode())

    do_HEAD = do_POST = do_GET  # noqa: N815 - the names that http.server calls

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def hub() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


SECRET = "hf_secretsecretsecret"


def on_the_hub(hub: str, home: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A fresh Python whose hub is the double; the hub's libraries read their variables once, when imported."""
    pytest.importorskip("datasets", reason="the extra 'hub' is not installed")
    asked = {"HF_ENDPOINT": hub, "HF_HOME": str(home), "HF_TOKEN": SECRET, "HF_HUB_OFFLINE": "0", **env}
    done = subprocess.run([sys.executable, *command], env={**os.environ, **asked}, capture_output=True, text=True)
    assert SECRET not in done.stdout + done.stderr
    return done


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        ((401, "GatedRepo"), ["GatedDataError", "1. Accept its conditions at", "2. Give that account's token"]),
        ((403, "GatedRepo"), ["GatedDataError", "1. Accept its conditions at", "2. Give that account's token"]),
        ((404, "RepoNotFound"), ["UnavailableError", "was not found on the hub", "data:"]),
        ((400, "Odd"), ["UnavailableError", "could not be read from the hub", "HF_HUB_OFFLINE"]),
    ],
)
def test_the_hub_refuses(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: tuple[int, str], says: list[str]
) -> None:
    monkeypatch.setattr(Hub, "refusal", refusal)
    done = on_the_hub(hub, tmp_path, "-c", LOADS)
    assert all(part in done.stdout for part in says), done.stdout + done.stderr


def test_the_hub_gives_the_rows_once(hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hub, "tokens", set())
    first = on_the_hub(hub, tmp_path, "-c", LOADS)
    assert "2024-I-30" in first.stdout, first.stdout + first.stderr
    assert f"'revision': '{REVISION}', 'rows': 30" in first.stdout
    assert f"Bearer {SECRET}" in Hub.tokens
    assert "Generating train split: 30 examples" in first.stderr  # the bars of the hub's libraries stay on
    assert any((tmp_path / "datasets").iterdir())
    offline = on_the_hub("http://127.0.0.1:9", tmp_path, "-c", LOADS, HF_HUB_OFFLINE="1")
    assert offline.stdout == first.stdout, offline.stderr


def test_a_download_that_lost_rows_is_refused(hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hub, "rows", 29)
    done = on_the_hub(hub, tmp_path, "-c", LOADS)
    assert "DataError" in done.stdout, done.stderr
    assert "has 30 rows, but 29 came from the hub" in done.stdout


def test_gated_benchmarks_are_not_run_and_the_rest_is(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hub, "refusal", (403, "GatedRepo"))
    study = replay_study(tmp_path, wrong={"bf16": [1], "fp8": [1]})
    study.write_text(study.read_text() + "- name: gpqa_diamond\n- name: hle\n")
    run = tmp_path / "run"
    done = on_the_hub(hub, tmp_path / "home", "-m", "bitparity", "run", str(study), "--out", str(run))
    assert done.returncode == 3, done.stdout + done.stderr
    entries = json.loads((run / "results.json").read_text())["benchmarks"]
    assert entries["math500"]["status"] == "measured"
    for name, dataset in (("gpqa_diamond", "Idavidrein/gpqa"), ("hle", "cais/hle")):
        assert entries[name]["status"] == "not_run"
        assert f"1. Accept its conditions at https://huggingface.co/datasets/{dataset}" in entries[name]["reason"]
        assert "2. Give that account's token to this host" in entries[name]["reason"]
        assert f"{name}: not run" in done.stdout
        assert f"| {name.replace('_', chr(92) + '_')} | – | N/A | N/A |" in (run / "report.md").read_text()
    assert "N/A" in done.stdout


def test_without_network_the_remedy_is_named(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="the extra 'hub' is not installed")
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", LOADS], env=env, capture_output=True, text=True)
    assert done.stdout.startswith("UnavailableError data set Maxwell-Jia/AIME_2024"), done.stdout + done.stderr
    assert "data:" in done.stdout
