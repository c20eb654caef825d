"""A stub of the services that an inspection asks, beside Clean Rooms ML: each operation answers as a test says."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tests.aws.server import http

if TYPE_CHECKING:
    from tests.aws.server import Line, Request

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/cleanrooms-ml-access"
USER = f"arn:aws:iam::{ACCOUNT}:user/a"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "cleanrooms-ml.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}

ALGORITHM = f"arn:aws:cleanrooms-ml:us-east-1:{ACCOUNT}:configured-model-algorithm"
LIST = "ListConfiguredModelAlgorithms"


def caller(arn: str = USER, account: str = ACCOUNT) -> str:
    """The answer of GetCallerIdentity."""
    return f"<Arn>{arn}</Arn><Account>{account}</Account><UserId>u</UserId>"


def assumed() -> str:
    """The answer of AssumeRole."""
    keys = "<AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
    user = f"<Arn>arn:aws:sts::{ACCOUNT}:assumed-role/cleanrooms-ml-access/provisioner</Arn>"
    given = f"<Credentials>{keys}<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
    return f"{given}<AssumedRoleUser>{user}</AssumedRoleUser>"


def role(arn: str = ROLE, trust: Any = None) -> str:
    """The answer of GetRole."""
    policy = json.dumps(TRUST if trust is None else trust)
    return (
        f"<Role><Path>/</Path><RoleName>{arn.rpartition('/')[2]}</RoleName><RoleId>r</RoleId><Arn>{arn}</Arn>"
        f"<CreateDate>2026-01-01T00:00:00Z</CreateDate>"
        f"<AssumeRolePolicyDocument>{policy.replace('&', '&amp;')}</AssumeRolePolicyDocument></Role>"
    )


def decided(decision: str) -> str:
    """The answer of SimulatePrincipalPolicy, one decision for every action that may be asked for."""
    actions = (
        "iam:PassRole",
        "ecr:BatchGetImage",
        "ecr:BatchCheckLayerAvailability",
        "ecr:GetDownloadUrlForLayer",
    )
    members = "".join(
        f"<member><EvalActionName>{action}</EvalActionName><EvalDecision>{decision}</EvalDecision></member>"
        for action in actions
    )
    return f"<EvaluationResults>{members}</EvaluationResults><IsTruncated>false</IsTruncated>"


def quota(value: float) -> dict[str, Any]:
    """The answer of GetServiceQuota."""
    return {"Quota": {"ServiceCode": "cleanrooms-ml", "QuotaCode": "L-CDB92F4A", "Value": value}}


def page(*names: str, next_token: str = "") -> dict[str, Any]:
    """The answer of List."""
    items = [
        {
            "configuredModelAlgorithmArn": f"{ALGORITHM}/{name}",
            "name": name,
            "createTime": "2026-01-01T00:00:00Z",
            "updateTime": "2026-01-01T00:00:00Z",
        }
        for name in names
    ]
    return {"configuredModelAlgorithms": items} | ({"nextToken": next_token} if next_token else {})


class Refusal:
    """An answer with an error.

    Args:
        status: of HTTP.
        code: of the service.
    """

    def __init__(self, status: int, code: str) -> None:
        self.status = status
        self.code = code


DENIED = Refusal(403, "AccessDenied")
DENIED_JSON = Refusal(400, "AccessDeniedException")


class Services:
    """An action for :class:`tests.aws.server.Server`.

    Attributes:
        answers: by operation; all is well at first.
        asked: the operation of each request.
        sent: the body of each.
        signed_by: the access key id of each.
        date: the Date header of every answer.
    """

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {
            "GetCallerIdentity": caller(),
            "GetRole": role(),
            "SimulatePrincipalPolicy": decided("allowed"),
            "GetServiceQuota": quota(1000.0),
            "DescribeImages": {"imageDetails": [{"imageDigest": "sha256:0"}]},
            "DescribeKey": {"KeyMetadata": {"KeyId": "k", "KeyState": "Enabled"}},
            LIST: page(),
            "GetResources": {"ResourceTagMappingList": []},
            **answers,
        }
        self.asked: list[str] = []
        self.sent: list[str] = []
        self.signed_by: list[str] = []
        self.date = formatdate(usegmt=True)

    async def __call__(self, line: Line) -> None:
        """Answer one call."""
        operation = _operation(line.request)
        self.asked.append(operation)
        self.sent.append(line.request.body.decode())
        self.signed_by.append(line.request.headers["authorization"].partition("Credential=")[2].partition("/")[0])
        answer = self.answers[operation]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        line.writer.write(_written(operation, answer, {"date": self.date}))
        await line.writer.drain()


def _operation(request: Request) -> str:
    if target := request.headers.get("x-amz-target"):
        return target.rpartition(".")[2]
    if request.method == "GET":
        return LIST
    return parse_qs(request.body.decode())["Action"][0]


def _written(operation: str, answer: Any, headers: dict[str, str]) -> bytes:
    """The bytes of an answer: text is XML of the query protocol, all else JSON."""
    in_xml = operation in {"AssumeRole", "GetCallerIdentity", "GetRole", "SimulatePrincipalPolicy"}
    if isinstance(answer, Refusal):
        if in_xml:
            body = f"<ErrorResponse><Error><Code>{answer.code}</Code><Message>no</Message></Error></ErrorResponse>"
            return http(answer.status, body.encode(), headers | {"content-type": "text/xml"})
        body = json.dumps({"__type": answer.code, "message": "no"})
        return http(answer.status, body.encode(), headers | {"x-amzn-errortype": answer.code})
    if in_xml:
        body = f"<{operation}Response><{operation}Result>{answer}</{operation}Result></{operation}Response>"
        return http(200, body.encode(), headers | {"content-type": "text/xml"})
    return http(200, json.dumps(answer).encode(), headers)
