"""A small OpenAI-compatible server in this process, whose answers a test decides."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAME = "toy"
EXTENSIONS = {"top_k", "min_p", "repetition_penalty", "stop_token_ids"}


@dataclass
class Reply:
    """What goes back: a JSON value, or raw bytes.

    `drop` closes the connection in the middle of it; `drip` are the seconds before each byte.
    """

    value: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    drop: bool = False
    drip: float = 0.0
    seconds: float = 0.0


Answers = Callable[[str, dict[str, Any]], Reply | None]


class Double(ThreadingHTTPServer):
    """`answers` is asked first, with endpoint and body; where it gives None, the default answers."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answers: Answers | None = None, *, max_model_len: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers or (lambda endpoint, body: None)
        self.max_model_len = max_model_len
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()
        self.busy = self.most = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def asked(self, endpoint: str = "completions") -> list[dict[str, Any]]:
        """The bodies of real requests; those that try the server out ask for one token."""
        return [body for path, body in self.seen if path == endpoint and body.get("max_tokens") != 1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is what some tests want."""


def listing(double: Double) -> Reply:
    """GET /v1/models as vLLM answers it."""
    return Reply({"data": [{"id": NAME, "owned_by": "vllm", "root": "/m/toy", "max_model_len": double.max_model_len}]})


def completion(text: str = "4", tokens: int = 3, prompt: int = 9, finish: str = "stop") -> Reply:
    """The answer of /v1/completions."""
    usage = {"prompt_tokens": prompt, "completion_tokens": tokens}
    return Reply({"choices": [{"text": text, "finish_reason": finish}], "usage": usage})


def message(content: Any, finish: str = "stop", prompt: int = 9, **more: Any) -> Reply:
    """The answer of /v1/chat/completions."""
    usage = {"prompt_tokens": prompt, "completion_tokens": 3}
    choice = {"message": {"role": "assistant", "content": content, **more}, "finish_reason": finish}
    return Reply({"choices": [choice], "usage": usage})


def echo(ids: list[int]) -> Reply:
    """Log-probabilities of the prompt and one more token: -0.5 for even tokens, the likeliest; -2 for odd ones."""
    chosen = [None, *(-0.5 if i % 2 == 0 else -2.0 for i in ids[1:]), -0.1]
    best = [None, *({"x": -0.5} for _ in ids[1:]), {"x": -0.1}]
    choice = {"text": "", "finish_reason": "length", "logprobs": {"token_logprobs": chosen, "top_logprobs": best}}
    return Reply({"choices": [choice], "usage": {"prompt_tokens": len(ids), "completion_tokens": 1}})


def default(endpoint: str, body: dict[str, Any]) -> Reply:
    """A server that takes everything."""
    if body.get("echo"):
        return echo(body["prompt"])
    if endpoint == "chat/completions":
        return message("4")
    return completion(prompt=len(body["prompt"]))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Double

    def log_message(self, *args: Any) -> None:
        """Silence."""

    def do_GET(self) -> None:
        paths = {"/v1/models": listing(self.server), "/version": Reply({"version": "9.9.9"})}
        found = self.server.answers(self.path.removeprefix("/v1/"), {})
        self._send(found or paths.get(self.path, Reply({}, 404)))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        endpoint = self.path.removeprefix("/v1/")
        with self.server.lock:
            self.server.seen.append((endpoint, body))
            self.server.headers.append({k.lower(): v for k, v in self.headers.items()})
            self.server.busy += 1
            self.server.most = max(self.server.most, self.server.busy)
        try:
            reply = self.server.answers(endpoint, body) or default(endpoint, body)
            time.sleep(reply.seconds)
        finally:
            with self.server.lock:
                self.server.busy -= 1
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        raw = reply.raw if reply.raw is not None else json.dumps(reply.value).encode()
        self.send_response(reply.status)
        self.send_header("content-length", str(len(raw)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if reply.drop:
            self.wfile.write(raw[: len(raw) // 2])
            self.close_connection = True
            return
        for part in (raw[n : n + 1] for n in range(len(raw))) if reply.drip else (raw,):
            time.sleep(reply.drip)
            self.wfile.write(part)


@contextmanager
def serving(answers: Answers | None = None, **settings: Any) -> Iterator[Double]:
    """A running double."""
    with Double(answers, **settings) as double:
        thread = threading.Thread(target=double.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield double
        finally:
            double.shutdown()
            thread.join()
