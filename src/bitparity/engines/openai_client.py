"""What holds for every OpenAI-compatible endpoint: its key, which failures pass, how long it asks to be left alone."""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from bitparity.engines.checks import one_line
from bitparity.errors import EngineError, MissingDependencyError, ModelError, UserInputError
from bitparity.schema import EngineSpec

_PASSING = {408, 409, 425, 429}


def sendable(key: str) -> bool:
    """Whether a key can stand in a header, as visible ASCII and spaces (RFC 9110, 5.5).

    Any other is refused before it is sent: the HTTP libraries show the header in their own messages.
    """
    return key.isascii() and key.isprintable()


def passes(status: int) -> bool:
    """Whether a request that failed with this HTTP status may succeed later."""
    return status in _PASSING or status >= 500


def retry_after(header: str | None) -> float | None:
    """Seconds to wait, from either form of Retry-After (RFC 9110, 10.2.3); None where it says nothing readable."""
    value = (header or "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


try:
    import httpx
except ImportError as missing:
    raise MissingDependencyError("httpx", "openai", "the engine openai") from missing


RETRIES = 8  # about four minutes of pauses: a server that loads its model again


REQUEST_TIMEOUT = 3600.0  # seconds for one completion: a long reasoning on a busy server


FIRST_PAUSE = 1.0  # seconds, doubled each time


LONGEST_PAUSE = 60.0


LONGEST_RETRY_AFTER = 600.0


_CONNECT_TIMEOUT = 10.0


_ASK_TRIES = 2  # after the first, for what the server is


_TOLD = 300  # characters of a server's own message


class Unanswered(Exception):  # noqa: N818 - an outcome, not a fault of this program
    """A request that got no usable answer. `final`: the server refused it for what it is."""

    def __init__(self, why: str, *, final: bool, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.final, self.status, self.retry_after = final, status, retry_after


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer with exactly one choice, which holds a text."""

    body: Mapping[str, Any]

    @property
    def choice(self) -> Mapping[str, Any]:
        """The completion."""
        found: Mapping[str, Any] = self.body["choices"][0]
        return found

    @property
    def text(self) -> str:
        """What was written, a reasoning that the server parted off left out."""
        return _written(self.choice)

    def model_but(self, asked: str) -> str | None:
        """The model that it names as its own; None where it names none, or the one that was asked."""
        value = self.body.get("model")
        return value[:_TOLD] if isinstance(value, str) and value not in ("", asked) else None

    def usage(self, name: str) -> int | None:
        """A count of tokens, None where the server does not tell one that can be."""
        usage = self.body.get("usage")
        value = usage.get(name) if isinstance(usage, Mapping) else None
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


class Server:
    """One server. `concurrency` is how many requests it is sent at once.

    Raises EngineError where the environment names a proxy that cannot be used.
    """

    def __init__(self, spec: EngineSpec, key: str | None, concurrency: int) -> None:
        assert spec.base_url is not None
        self.url = spec.base_url
        self.retries = RETRIES if spec.retries is None else spec.retries
        self._key = key
        self._seconds = spec.request_timeout or REQUEST_TIMEOUT
        try:
            self._client = httpx.AsyncClient(
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=httpx.Timeout(None, connect=_CONNECT_TIMEOUT),  # its others are between bytes, not for all
                limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            )
        except ImportError:
            raise EngineError(
                f"a SOCKS proxy is set ({_proxy_variables()}), which needs the package 'socksio'; install it with: "
                "pip install 'httpx[socks]', or unset the variable, or name the server in NO_PROXY"
            ) from None
        except (httpx.InvalidURL, ValueError):  # its message may hold the proxy's password
            raise EngineError(
                f"a proxy that is set is no address that can be used ({_proxy_variables()}); write it as "
                "http://host:port, or unset the variable"
            ) from None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def describe(self, model: str) -> dict[str, Any]:
        """What the server says of itself and of the model: `version`, `software`, `max_model_len`, ... where it does.

        `unlisted` says why nothing shows that it has the model: many gateways list none, as does a wrong address.
        Raises UserInputError where it refuses the key, ModelError where it has no such model, EngineError where it
        cannot be reached.
        """
        about: dict[str, Any] = {}
        try:
            listed = await self._tried("GET", f"{self.url}/models", None, _ASK_TRIES)
        except Unanswered as error:
            if not error.final:
                raise EngineError(f"the server at {self.url} cannot be asked: {error}; is it running?") from None
            about["unlisted"] = str(error)
        else:
            about |= _about_model(listed, model, self.url)
        root = re.sub(r"/v\d+$", "", self.url)
        try:
            version = (await self._tried("GET", f"{root}/version", None, 0)).get("version")
        except Unanswered:  # few but vLLM have it
            version = None
        return about | ({"version": version} if isinstance(version, str) else {})

    async def post(self, endpoint: str, body: Mapping[str, Any], patience: int | None = None) -> Answer:
        """One completion. Tried again up to `patience` times (None: the study's). Raises Unanswered."""
        tries = self.retries if patience is None else min(patience, self.retries)
        return Answer(await self._tried("POST", f"{self.url}/{endpoint}", body, tries))

    async def _tried(self, method: str, url: str, body: Mapping[str, Any] | None, retries: int) -> dict[str, Any]:
        for tried in range(retries + 1):
            try:
                return await self._once(method, url, body)
            except Unanswered as error:
                if error.final or tried == retries:
                    raise
                await asyncio.sleep(_pause(tried, error.retry_after))
        raise AssertionError("the loop ends with an answer or an error")

    async def _once(self, method: str, url: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._seconds):
                response = await self._client.request(method, url, json=body)
        except TimeoutError:
            raise Unanswered(f"no whole answer within {self._seconds:g} s", final=False) from None
        except httpx.TimeoutException as error:
            raise Unanswered(f"no answer in time ({type(error).__name__})", final=False) from None
        except httpx.RequestError as error:
            raise Unanswered(self._redacted(f"the connection failed ({one_line(error)})"), final=False) from None
        status = response.status_code
        if status in (401, 403):
            raise UserInputError(
                f"the server at {self.url} refuses the key (status {status}: {self._told(response)}); name the "
                "variable that holds it in the study: api_key_env"
            )
        if status != 200:
            why = f"status {status}: {self._told(response)}"
            raise Unanswered(why, final=not passes(status), status=status, retry_after=_retry_after(response))
        return self._checked(response, method)

    def _checked(self, response: httpx.Response, method: str) -> dict[str, Any]:
        try:
            value = response.json()
        except ValueError:
            raise Unanswered("the answer is no JSON", final=False) from None
        if not isinstance(value, dict):
            raise Unanswered("the answer is no JSON object", final=False)
        if method == "POST":
            choices = value.get("choices")
            if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
                error = value.get("error")
                said = f": {self._redacted(str(error))[:_TOLD]}" if error else ""
                raise Unanswered(f"the answer does not hold one choice{said}", final=False)
            _written(choices[0])
        return value

    def _told(self, response: httpx.Response) -> str:
        """The server's own words, in one line; cut last, so that no half a key is left."""
        try:
            value = response.json()
            error = value.get("error", value) if isinstance(value, dict) else value
            text = str(error.get("message", error)) if isinstance(error, dict) else str(error)
        except ValueError:
            text = re.sub(r"<[^>]*>", " ", response.text)
        return self._redacted(" ".join(text.split()))[:_TOLD] or "no reason given"

    def _redacted(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def _written(choice: Mapping[str, Any]) -> str:
    """The text of a choice, "" for a message that has none. Raises Unanswered where it holds neither."""
    message = choice.get("message")
    content = message.get("content") or "" if isinstance(message, Mapping) else choice.get("text")
    if isinstance(content, list):  # of parts, as a message of a request may have them
        parts = [part for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
        content = [part.get("text") for part in parts] if len(parts) == len(content) else [None]
        content = "".join(content) if all(isinstance(text, str) for text in content) else None
    if not isinstance(content, str):
        raise Unanswered("the answer holds no text", final=False)
    return content


def _about_model(listed: Mapping[str, Any], model: str, url: str) -> dict[str, Any]:
    """What /models says of the model. Raises ModelError where it lists others only."""
    data = listed.get("data")
    entries = [
        e for e in (data if isinstance(data, list) else []) if isinstance(e, dict) and isinstance(e.get("id"), str)
    ]
    found = next((e for e in entries if e["id"] == model), None)
    if found is None and entries:
        shown = ", ".join(e["id"] for e in entries[:5]) + (", ..." if len(entries) > 5 else "")
        raise ModelError(f"the server at {url} has no model '{model}'; it serves {shown}")
    if found is None:
        return {"unlisted": "its list is empty"}
    about = {"software": found.get("owned_by"), "root": found.get("root"), "max_model_len": found.get("max_model_len")}
    kinds = {"software": str, "root": str, "max_model_len": int}
    return {name: value for name, value in about.items() if isinstance(value, kinds[name])}


def _proxy_variables() -> str:
    """The names of the variables that set a proxy; their values may hold a password."""
    return ", ".join(sorted(name for name, value in os.environ.items() if name.lower().endswith("_proxy") and value))


def _pause(tried: int, asked: float | None) -> float:
    """Seconds until the next try: growing, never less than the server asks, spread so that not all come at once."""
    own: float = min(FIRST_PAUSE * 2**tried, LONGEST_PAUSE) * random.uniform(0.75, 1.25)
    return max(own, min(asked or 0.0, LONGEST_RETRY_AFTER))


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks for."""
    return retry_after(response.headers.get("retry-after"))
