"""A stub of STS: AssumeRole and GetCallerIdentity, in the wire form of the query protocol."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from tests.aws.server import http

if TYPE_CHECKING:
    from tests.aws.server import Line

_ASSUMED = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIA{n}</AccessKeyId><SecretAccessKey>s{n}</SecretAccessKey><SessionToken>t{n}</SessionToken>
<Expiration>{expiry}</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>AROA1:{session}</AssumedRoleId>
<Arn>{arn}</Arn></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>"""

_CALLER = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:iam::123456789012:user/a</Arn><Account>123456789012</Account></GetCallerIdentityResult>
</GetCallerIdentityResponse>"""

_DENIED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Code>AccessDenied</Code>
<Message>not authorized</Message></Error></ErrorResponse>"""


class Sts:
    """An action for :class:`tests.aws.server.Server`: the nth AssumeRole gives the key ``ASIAn``.

    Attributes:
        valid_for: how long the next credentials are valid.
        denied: whether everything is refused.
        role_arn: whose credentials are given; "" for those of the role that is asked for.
        asked: the parameters of each call.
    """

    def __init__(self, valid_for: timedelta = timedelta(hours=1)) -> None:
        self.valid_for = valid_for
        self.denied = False
        self.role_arn = ""
        self.asked: list[dict[str, str]] = []
        self.assumed = 0

    async def __call__(self, line: Line) -> None:
        """Answer one call."""
        call = {key: values[0] for key, values in parse_qs(line.request.body.decode()).items()}
        self.asked.append(call)
        status, text = 200, _CALLER
        if self.denied:
            status, text = 403, _DENIED
        elif call["Action"] == "AssumeRole":
            self.assumed += 1
            expiry = (datetime.now(UTC) + self.valid_for).strftime("%Y-%m-%dT%H:%M:%SZ")
            arn, session = self.role_arn or call["RoleArn"], call["RoleSessionName"]
            head, name = arn.replace(":iam:", ":sts:").partition(":role/")[0], arn.rpartition("/")[2]
            user = f"{head}:assumed-role/{name}/{session}"
            text = _ASSUMED.format(n=self.assumed, expiry=expiry, arn=user, session=session)
        line.writer.write(http(status, text.encode(), {"content-type": "text/xml"}))
        await line.writer.drain()
