"""HTTP client for OpenAI-compatible servers, with one retry policy for the engine `openai` and the judge.

The key is sent to the study's own address only: redirects are not followed, and no message holds the key.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import time
from asyncio import sleep
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from bitparity.engines.checks import kind_and_message
from bitparity.errors import EngineError, MissingDependencyError, ModelError, UserInputError
from bitparity.redaction import redacted, remember
from bitparity.schema import Variant

if TYPE_CHECKING:
    import httpx

RETRIES = 8  # about four minutes of pauses: a server that loads its model again
REQUEST_TIMEOUT_S = 3600.0  # for one completion: a long reasoning on a busy server
CONNECT_TIMEOUT_S = 10.0
FIRST_PAUSE_S = 1.0  # doubled each time
LONGEST_PAUSE_S = 60.0
LONGEST_RETRY_AFTER_S = 600.0
DESCRIBE_RETRIES = 2
MESSAGE_LENGTH = 300  # characters of a server's own message

_PASSING = {408, 409, 425, 429}

Json = dict[str, Any]  # as a server sends it
Result = TypeVar("Result")


class RequestFailedError(Exception):
    """A request without a usable answer. `final`: the server refused it, so the same request would fail again."""

    def __init__(self, why: str, *, final: bool, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.final, self.status, self.retry_after = final, status, retry_after


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer with exactly one choice, which holds a text."""

    body: Json
    choice: Json
    """The completion."""
    text: str
    """The text of the completion, without a reasoning that the server has separated."""

    @property
    def in_parts(self) -> bool:
        """True if the text came as a list of parts."""
        message = self.choice.get("message")
        return isinstance(message, dict) and isinstance(message.get("content"), list)

    @property
    def model(self) -> str | None:
        """The model that the server names, None where it names none."""
        value = self.body.get("model")
        return value[:MESSAGE_LENGTH] if isinstance(value, str) and value else None

    def usage(self, name: str) -> int | None:
        """A count of tokens, None where the server gives no valid one."""
        usage = self.body.get("usage")
        value = usage.get(name) if isinstance(usage, dict) else None
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def require_httpx() -> None:
    """Raises MissingDependencyError where httpx is not installed."""
    try:
        import httpx  # noqa: F401
    except ImportError as missing:
        raise MissingDependencyError("httpx", "openai", "asking an OpenAI-compatible server") from missing


def read_key(variable: str | None) -> str | None:
    """The key from the environment variable that the study names. Raises UserInputError where it has no usable key.

    A key is visible ASCII and spaces (RFC 9110, 5.5); another one would stand in the HTTP library's own messages.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UserInputError(
            f"the variable {variable}, named by api_key_env, is not set; export it with the server's key"
        )
    if not (key.isascii() and key.isprintable()):
        raise UserInputError(
            f"the variable {variable}, named by api_key_env, holds a line break or a character beyond ASCII, which no "
            "key has; export it again with the key alone"
        )
    remember(key)
    return key


def retry_after(header: str | None) -> float | None:
    """Seconds to wait, from either form of Retry-After (RFC 9110, 10.2.3); None where it has neither form."""
    value = (header or "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def pause(tried: int, asked: float | None) -> float:
    """Seconds until the next try: growing, never less than the server asks, random so that not all come at once."""
    own: float = min(FIRST_PAUSE_S * 2**tried, LONGEST_PAUSE_S) * random.uniform(0.75, 1.25)
    return max(own, min(asked or 0.0, LONGEST_RETRY_AFTER_S))


async def with_retries(request: Callable[[], Awaitable[Result]], retries: int) -> Result:
    """The result of a request, tried again up to `retries` times. Raises RequestFailedError."""
    tried = 0
    while True:
        try:
            return await request()
        except RequestFailedError as error:
            if error.final or tried == retries:
                raise
            await sleep(pause(tried, error.retry_after))
            tried += 1


class Server:
    """One server. `concurrency` is the number of requests at once.

    Raises MissingDependencyError without httpx, EngineError where the environment names a proxy that cannot be used.
    """

    def __init__(
        self, url: str, key: str | None, concurrency: int, timeout_s: float = REQUEST_TIMEOUT_S, retries: int = RETRIES
    ) -> None:
        self.url, self.retries = url, retries
        self._timeout_s = timeout_s
        self._client = _open_client(key, concurrency)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def describe(self, model: str) -> dict[str, str | int]:
        """`version`, `software`, `max_model_len` and more of the server and the model, as far as the server tells.

        `unlisted` is the reason why the model may be missing: many gateways list none, as does a wrong address.
        Raises UserInputError where it refuses the key, ModelError where it has no such model, EngineError where it
        cannot be reached.
        """
        about: dict[str, str | int] = {}
        try:
            about |= _model_entry(await self._get(f"{self.url}/models", DESCRIBE_RETRIES), model, self.url)
        except RequestFailedError as error:
            if not error.final:
                raise EngineError(f"the server at {self.url} cannot be asked: {error}; is it running?") from None
            about["unlisted"] = str(error)
        try:
            version = (await self._get(re.sub(r"/v\d+$", "", self.url) + "/version", 0)).get("version")
        except RequestFailedError:  # few but vLLM have it
            version = None
        return about | ({"version": version} if isinstance(version, str) else {})

    async def _get(self, url: str, retries: int) -> Json:
        return await with_retries(lambda: self._send("GET", url), retries)

    async def complete(self, endpoint: str, body: Json, most_retries: int | None = None) -> Answer:
        """One completion, with the study's retries, at most `most_retries`. Raises RequestFailedError."""
        retries = self.retries if most_retries is None else min(most_retries, self.retries)
        return await with_retries(lambda: self.complete_once(endpoint, body), retries)

    async def complete_once(self, endpoint: str, body: Json) -> Answer:
        """One completion without retries. Raises RequestFailedError, and UserInputError where the key is refused."""
        value = await self._send("POST", f"{self.url}/{endpoint}", body)
        choices = value.get("choices")
        if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
            said = f": {redacted(str(value['error']))[:MESSAGE_LENGTH]}" if value.get("error") else ""
            raise RequestFailedError(f"the answer does not hold one choice{said}", final=False)
        return Answer(value, choices[0], _text_of(choices[0]))

    async def _send(self, method: str, url: str, body: Json | None = None) -> Json:
        import httpx

        # httpx's own encoder fails on a text with half a surrogate pair
        content = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._client.request(method, url, content=content)
        except TimeoutError:
            raise RequestFailedError(f"no whole answer within {self._timeout_s:g} s", final=False) from None
        except httpx.TimeoutException as error:
            raise RequestFailedError(f"no answer in time ({type(error).__name__})", final=False) from None
        except httpx.RequestError as error:
            why = redacted(f"the connection failed ({kind_and_message(error)})")
            raise RequestFailedError(why, final=False) from None
        self._check_status(response)
        try:
            value = response.json()
        except ValueError:
            raise RequestFailedError("the answer is no JSON", final=False) from None
        if not isinstance(value, dict):
            raise RequestFailedError("the answer is no JSON object", final=False)
        return value

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status == 200:
            return
        try:
            value = response.json()
            error = value.get("error", value) if isinstance(value, dict) else value
            text = str(error.get("message", error)) if isinstance(error, dict) else str(error)
        except ValueError:
            text = re.sub(r"<[^>]*>", " ", response.text)
        # in one line; cut last, so that no part of a key is left
        why = f"status {status}: {redacted(' '.join(text.split()))[:MESSAGE_LENGTH] or 'no reason given'}"
        # all other requests would be refused as well
        if status in (401, 403):
            raise UserInputError(
                f"the server at {self.url} refuses the key ({why}); name the variable that holds it in the study: "
                "api_key_env"
            )
        final = status not in _PASSING and status < 500
        wait = retry_after(response.headers.get("retry-after"))
        raise RequestFailedError(why, final=final, status=status, retry_after=wait)


def server_of(variant: Variant, concurrency: int) -> Server:
    """The server that a variant of engine `openai` names. Raises as `Server` and `read_key` do."""
    spec = variant.engine
    assert spec.base_url is not None
    timeout_s = spec.request_timeout or REQUEST_TIMEOUT_S
    retries = RETRIES if spec.retries is None else spec.retries
    return Server(spec.base_url, read_key(spec.api_key_env), concurrency, timeout_s, retries)


async def about_server(variant: Variant) -> dict[str, str | int]:
    """The facts of a variant's server and model, asked once. Raises as `Server.describe` does."""
    async with aclosing(server_of(variant, 1)) as server:
        return await server.describe(variant.model)


def _open_client(key: str | None, concurrency: int) -> httpx.AsyncClient:
    require_httpx()
    import httpx

    proxies = sorted(name for name, value in os.environ.items() if name.lower().endswith("_proxy") and value)
    variables = ", ".join(proxies)
    try:
        return httpx.AsyncClient(
            headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {}),
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),  # httpx counts the time between bytes only
            # httpx's own limit would hold back a larger concurrency
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        )
    except ImportError:
        raise EngineError(
            f"a SOCKS proxy is set ({variables}), which needs the package 'socksio'; install it with: "
            "pip install 'httpx[socks]', or unset the variable, or name the server in NO_PROXY"
        ) from None
    except (httpx.InvalidURL, ValueError):  # its message may hold the proxy's password
        raise EngineError(
            f"a proxy that is set is no address that can be used ({variables}); write it as http://host:port, or "
            "unset the variable"
        ) from None


def _text_of(choice: Json) -> str:
    """The text of a choice, "" for a message that has none. Raises RequestFailedError where it holds neither."""
    message = choice.get("message")
    content = message.get("content") or "" if isinstance(message, dict) else choice.get("text")
    if isinstance(content, list):  # of parts, as a message of a request may have them
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        whole = len(parts) == len(content) and all(isinstance(part, str) for part in parts)
        content = "".join(map(str, parts)) if whole else None
    if not isinstance(content, str):
        raise RequestFailedError("the answer holds no text", final=False)
    return content


def _model_entry(listed: Json, model: str, url: str) -> dict[str, str | int]:
    """The facts of a model from the list /models. Raises ModelError where it lists others only."""
    data = listed.get("data")
    entries = [e for e in data if isinstance(e, dict)] if isinstance(data, list) else []
    names = [e["id"] for e in entries if isinstance(e.get("id"), str)]
    if not names:
        return {"unlisted": "its list is empty"}
    if model not in names:
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise ModelError(f"the server at {url} has no model '{model}'; it serves {shown}")
    found = next(e for e in entries if e.get("id") == model)
    about = {"software": found.get("owned_by"), "root": found.get("root"), "max_model_len": found.get("max_model_len")}
    return {name: value for name, value in about.items() if isinstance(value, int if name == "max_model_len" else str)}
