"""How replies come off a connection of the direct transport."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from aiohttp.client_proto import ResponseHandler

from provisioner.aws import wire
from provisioner.aws.http import CleanConnector
from provisioner.core.verdict import Reply

if TYPE_CHECKING:
    import ssl

    from aiohttp.http import RawResponseMessage
    from aiohttp.streams import StreamReader

REPLY_LIMIT = 1 << 20
"""Bytes of a reply's body that are read; the service's replies have a few hundred."""


class OversizeError(Exception):
    """A reply is longer than any that the service sends."""

    def __init__(self) -> None:
        super().__init__(f"the reply has more than {REPLY_LIMIT} bytes")


class ReplyHandler(ResponseHandler):
    """aiohttp's end of a connection, with a short cut for the reply that almost every create gets.

    A create that was done is told in a few hundred bytes that arrive together. To make parser, headers and stream for
    them takes a sixth of a create; :func:`provisioner.aws.wire.whole` reads them where they lie. All else, and whatever
    is out of the ordinary in the least, goes to aiohttp's parser, which is made then.

    Between two requests there is no parser, so that aiohttp keeps what comes unasked, and the connection is not used
    again (``should_close``).
    """

    _expecting = False

    def expect(self) -> None:
        """A request is about to be written: what comes next is its reply."""
        self._expecting = True

    async def reply(self, now: float) -> tuple[Reply, str]:
        """The reply, read to its end, and the server's date ("" where it is not told, or not of interest).

        Args:
            now: seconds since the epoch.

        Raises:
            OSError, aiohttp.ClientError: there is none that can be read.
        """
        got: object = await self.read()
        if isinstance(got, Reply):
            return got, ""
        message, payload = cast("tuple[RawResponseMessage, StreamReader]", got)
        while 100 <= message.code < 200:  # noqa: PLR2004  informational replies precede the one that counts
            message, payload = await self.read()
        content = await _content(payload)
        self._parser = None
        return wire.read(message.code, message.headers, content, now), message.headers.get("date", "")

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self._expecting:
            self._expecting = False
            if (reply := wire.whole(data)) is not None:
                self.feed_data(reply)  # type: ignore[arg-type]  # reply() tells it from what a parser gives
                return
            self.set_response_params(read_until_eof=True, auto_decompress=False)
        super().data_received(data)


class ReplyConnector(CleanConnector):
    """A connector whose connections end in a :class:`ReplyHandler`, and which limits nothing.

    Args:
        tls: False where nothing is to be verified.
    """

    def __init__(self, tls: ssl.SSLContext | bool) -> None:  # noqa: FBT001  aiohttp's own encoding of the setting
        super().__init__(limit=0, ssl=tls)
        self._factory = partial(ReplyHandler, loop=self._loop)  # type: ignore[assignment]  # a ResponseHandler too


async def _content(payload: StreamReader) -> bytes:
    content = await payload.readany()
    while not payload.at_eof():
        content += await payload.readany()
        if len(content) > REPLY_LIMIT:
            raise OversizeError
    return content
