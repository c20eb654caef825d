"""Pings: a monitor hears when a job starts and how it ends, and raises an alarm when it hears nothing.

The protocol is that of healthchecks.io (https://healthchecks.io/docs/http_api/): POST to ``URL/start``, then to ``URL``
for success or ``URL/<exit code>`` for failure. Whoever knows the URL can report in the job's name, so no message or log
has it, and it is sent nowhere else: a redirect is a failed ping. No ping changes what becomes of the job.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit, urlunsplit

from provisioner import __version__
from provisioner.config.values import LOOPBACK
from provisioner.errors import printable

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

LIMIT_S = 10.0
"""How long the end of a job waits for its pings, and a ping for an answer."""
GOOD = {0, 10}
"""Exit codes that are reported as success: 10 is a success with a change, and only on request."""


def ping_url(url: str) -> SplitResult:
    """The parts of ``url``.

    Raises:
        ValueError: it is neither https nor http on this machine. The message does not repeat it.
    """
    try:
        parts = urlsplit(url)
        valid = (
            url.isascii()
            and url.isprintable()
            and " " not in url
            and not (parts.username or parts.password or parts.fragment)
            and parts.port != 0
            and bool(parts.hostname)
            and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))
        )
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("it has to be https, or http on this machine, without user, password or fragment")
    return parts


class Ping:
    """The pings of one job.

    Args:
        parts: of the URL, as :func:`ping_url` returns them.
    """

    def __init__(self, parts: SplitResult) -> None:
        self._parts = parts
        self._failures: dict[str, str] = {}
        self._starting: threading.Thread | None = None

    def start(self) -> None:
        """Report the start, without waiting for the answer."""
        if self._starting is None:
            self._starting = self._sending("start", "/start", "")

    def end(self, code: int, line: str, patience_s: float) -> list[str]:
        """Report the end, and wait for the answers at most ``patience_s``; returns which pings failed, and why.

        Args:
            code: the exit code.
            line: what the job did.
            patience_s: half of it may go to a start that is not answered yet, so that the end does not overtake it.
        """
        until = time.monotonic() + patience_s
        if self._starting is not None:
            self._starting.join(patience_s / 2)
            if self._starting.is_alive():
                self._failures.setdefault("start", "no answer in time")
        ending = self._sending("end", "" if code in GOOD else f"/{code}", f"exit {code}: {printable(line, 4000)}\n")
        if ending is not None:
            ending.join(max(0.0, until - time.monotonic()))
            if ending.is_alive():
                self._failures.setdefault("end", "no answer in time")
        return [f"{kind}: {why}" for kind, why in dict(self._failures).items()]

    def _sending(self, kind: str, suffix: str, body: str) -> threading.Thread | None:
        """Send a ping in a thread that ends with the process: looking a host up has no time-out."""
        thread = threading.Thread(target=self._send, args=(kind, suffix, body), name="ping", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no memory for a thread
            self._failures[kind] = "no memory for a thread"
            return None
        return thread

    def _send(self, kind: str, suffix: str, body: str) -> None:
        from urllib.error import HTTPError
        from urllib.request import Request

        url = urlunsplit(self._parts._replace(path=self._parts.path.rstrip("/") + suffix))
        headers = {"User-Agent": f"provisioner/{__version__}", "Content-Type": "text/plain; charset=utf-8"}
        request = Request(url, data=body.encode(), headers=headers, method="POST")  # noqa: S310  see ping_url
        try:
            self._opener().open(request, timeout=LIMIT_S).close()
        except HTTPError as error:
            error.close()
            self._failures.setdefault(kind, f"HTTP {error.code}")
        except Exception as error:  # noqa: BLE001  no ping may change what becomes of the job
            self._failures.setdefault(kind, _cause(error))

    def _opener(self) -> OpenerDirector:
        """By the proxy of the environment, except on this machine; follows no redirect."""
        from urllib.request import HTTPRedirectHandler, ProxyHandler, build_opener

        class Refusing(HTTPRedirectHandler):
            def redirect_request(self, *_: object) -> None:
                """Follow none: the answer becomes an HTTPError."""

        direct = [ProxyHandler({})] if self._parts.hostname in LOOPBACK else []
        return build_opener(Refusing, *direct)


def _cause(error: BaseException) -> str:
    """Why a ping failed, without text that may repeat the URL."""
    inner = getattr(error, "reason", error)
    if isinstance(inner, OSError) and inner.strerror:
        return printable(inner.strerror)
    return type(inner if isinstance(inner, BaseException) else error).__name__
