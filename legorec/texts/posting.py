"""One request to an endpoint and its reply, or what went wrong, in words that hold no key."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from legorec.texts.pace import retry_after

if TYPE_CHECKING:
    from openai import APIStatusError

HIDDEN, NO_KEY = "<masked>", "none"
TRANSIENT = (408, 409, 425, 429)  # and everything from 500 on
HOPELESS = (404, 405)  # for every request, not for one alone
HOPELESS_CODES = ("model_not_found", "insufficient_quota")


@dataclass(frozen=True)
class Trouble:
    """One try that failed.

    Args:
        again: another try may help.
        hopeless: no request will fare better.
        unreached: nothing has ever answered there.
        wait: the seconds that the server asks for.
    """

    reason: str
    again: bool = True
    hopeless: bool = False
    unreached: bool = False
    wait: float | None = None


class Refused(Exception):
    """A request that brought no reply to read."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.reason)
        self.trouble = trouble


class Post:
    """A client that sends each request once: tries are counted elsewhere. The key is in it and nowhere else.

    Args:
        path: after the base URL.
        timeouts: seconds to connect and to read.
        longest_wait: seconds of a ``Retry-After`` above which another try is not worth it.

    Raises:
        ValueError: ``openai`` is not installed, or what ``key_env`` names can be no key.
    """

    def __init__(
        self,
        base_url: str,
        path: str,
        key_env: str | None,
        timeouts: tuple[float, float],
        longest_wait: float,
    ) -> None:
        try:
            from openai import AsyncOpenAI, Timeout
        except ImportError as error:
            raise ValueError("an endpoint needs `openai`: pip install 'legorec[texts]'") from error
        key = os.environ.get(key_env, "").strip() if key_env else ""
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ValueError(f"the key in {key_env} holds a blank or a character that no header may hold")
        self.base_url, self.path, self.key_env = base_url, path, key_env
        self.timeouts, self.longest_wait = timeouts, longest_wait
        self.reached = False  # whether anything has ever answered
        connect, read = timeouts
        self._client = AsyncOpenAI(
            api_key=key or NO_KEY,
            base_url=base_url,
            max_retries=0,
            timeout=Timeout(read, connect=connect),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def masked(self, text: str) -> str:
        """One line of a text, not too long, without the key."""
        line, key = " ".join(text.split()), self._client.api_key
        return (line if key == NO_KEY else line.replace(key, HIDDEN))[:300]

    async def send(self, body: Mapping[str, Any]) -> bytes:
        """The bytes of the reply.

        Raises:
            Refused: there is none, or it is an error.
        """
        import httpx2
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        try:
            # The client's own limit is for each part of a reply, this one for the whole.
            async with asyncio.timeout(sum(self.timeouts)):
                reply = await self._client.post(self.path, cast_to=httpx2.Response, body=body)
            self.reached = True
            return reply.content
        except APIStatusError as error:
            self.reached = True
            trouble = self._refusal(error)
        except (APITimeoutError, TimeoutError):
            trouble = Trouble(f"no answer within {self.timeouts[1]:g} s")
        except APIConnectionError as error:
            cause = error.__cause__ or error
            said = self.masked(str(cause).strip() or type(cause).__name__)
            trouble = Trouble(f"the connection failed: {said}", unreached=not self.reached)
        # Outside of the handlers: the library's error holds the request, and the request the key.
        raise Refused(trouble)

    def _refusal(self, error: APIStatusError) -> Trouble:
        """What a status says; the server's own words come without the key."""
        status, said = error.status_code, self.masked(_said(error))
        if status in (401, 403) or error.code == "invalid_api_key":
            # What a server says of a key may hold a part of it.
            key = f"the key in {self.key_env}" if self._client.api_key != NO_KEY else self._no_key()
            return Trouble(f"{self.base_url} refuses {key} ({status})", hopeless=True)
        if status in HOPELESS or error.code in HOPELESS_CODES:
            asked = f"{self.base_url} does not have its model or the path {self.path}"
            if error.code == "insufficient_quota":
                asked = f"{self.base_url} has no more quota for this key"
            return Trouble(f"{asked} ({status}): {said}", hopeless=True)
        if status not in TRANSIENT and status < 500:
            return Trouble(f"status {status}: {said}", again=False)
        wait = retry_after(error.response.headers.get("retry-after"))
        if wait is not None and wait > self.longest_wait:
            return Trouble(
                f"status {status}: the server asks to wait longer than `longest_wait` "
                f"({self.longest_wait:g} s)",
                again=False,
            )
        return Trouble(f"status {status}: {said}", wait=wait)

    def _no_key(self) -> str:
        named = f"{self.key_env} is not set" if self.key_env else "`key_env` names none"
        return f"requests without a key: {named}"


def _said(error: APIStatusError) -> str:
    """The message in an error's body, of whichever shape."""
    body = error.body
    if isinstance(body, Mapping):
        body = body.get("error", body)
        if isinstance(body, Mapping):
            body = body.get("message") or body.get("detail") or body
    return str(body)


def check_url(url: str) -> None:
    """Refuse a URL that is none, or that holds what must not be written down; its text is not shown then.

    Raises:
        ValueError: it is not ``http(s)://host...``, or holds a user, a password, a query or a fragment.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        shown = "" if "@" in url or "?" in url else f", got {url!r}"
        raise ValueError(f"`base_url` must be like http://localhost:8000/v1{shown}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "`base_url` must hold no user, password, query or fragment, as it is written down; put the key "
            "into an environment variable and name it with `key_env`"
        )
