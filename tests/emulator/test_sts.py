"""The two operations of STS: GetCallerIdentity and AssumeRole."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from xml.etree.ElementTree import fromstring

import boto3
import pytest
from botocore.exceptions import ClientError

from provisioner.emulator import Behaviour
from provisioner.emulator.signature import Caller
from provisioner.emulator.sts import NAMESPACE, operation_of, parameters_of, perform
from provisioner.emulator.wire import ApiError, Call

from .support import ONE_ATTEMPT, client, definition

if TYPE_CHECKING:
    from provisioner.emulator import Emulator

CALLER = Caller("123456789012", "us-east-1", "sts", "arn:aws:iam::123456789012:user/embedded", "AKIA")
ROLE_ARN = "arn:aws:iam::111122223333:role/path/deployer"


def _assumed(emulator: Emulator, service: str) -> Any:
    """A client with the keys of an assumed role in another account."""
    keys = client(emulator.url, service="sts").assume_role(RoleArn=ROLE_ARN, RoleSessionName="run-1")["Credentials"]
    return boto3.client(
        service,
        endpoint_url=emulator.url,
        region_name="eu-west-1",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
        config=ONE_ATTEMPT,
    )


def test_identity_of_long_lived_keys(emulator: Emulator) -> None:
    """An account's long-lived keys belong to a user in it."""
    identity = client(emulator.url, "999988887777", service="sts").get_caller_identity()

    assert (identity["Account"], identity["Arn"]) == ("999988887777", "arn:aws:iam::999988887777:user/embedded")
    assert emulator.truth.count("get_caller_identity", 200) == 1


def test_assumed_role_acts_in_its_account(emulator: Emulator) -> None:
    """The keys of an assumed role act in the role's account and have its identity."""
    identity = _assumed(emulator, "sts").get_caller_identity()
    arn = _assumed(emulator, "cleanroomsml").create_configured_model_algorithm(**definition())[
        "configuredModelAlgorithmArn"
    ]

    assert identity["Arn"] == "arn:aws:sts::111122223333:assumed-role/deployer/run-1"
    assert ":eu-west-1:111122223333:" in arn
    assert emulator.truth.count("assume_role", 200) == 2


@pytest.mark.parametrize(("asked", "longest", "given"), [(None, 7200, 3600), (900, 3600, 900), (3600, 300, 300)])
def test_lifetime_of_tokens(emulator: Emulator, asked: int | None, longest: float, given: float) -> None:
    """A token is valid as long as requested, an hour by default, and never longer than the switch allows."""
    emulator.behaviour = Behaviour(token_lifetime=longest)
    more = {} if asked is None else {"DurationSeconds": asked}
    sts = client(emulator.url, service="sts")
    before = datetime.now(UTC)
    expiration = sts.assume_role(RoleArn=ROLE_ARN, RoleSessionName="run-1", **more)["Credentials"]["Expiration"]

    assert (expiration - before).total_seconds() == pytest.approx(given, abs=60)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"RoleArn": "arn:aws:iam::1:role/x" + "x" * 9, "RoleSessionName": "run-1"}, "ValidationError"),
        ({"RoleArn": ROLE_ARN, "RoleSessionName": "a b"}, "ValidationError"),
    ],
)
def test_impossible_role_is_refused(emulator: Emulator, arguments: dict[str, str], code: str) -> None:
    """An impossible role or session name is refused with 400 in the query protocol's form."""
    with pytest.raises(ClientError) as caught:
        client(emulator.url, service="sts").assume_role(**arguments)

    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


@pytest.mark.parametrize("action", ["GetCallerIdentity", "AssumeRole"])
def test_the_root_of_a_response_names_the_action(action: str) -> None:
    """The root element is called as in the API reference, with the result as its child: clients may look for them."""
    form = urlencode({"Action": action, "RoleArn": ROLE_ARN, "RoleSessionName": "run-1"})
    call = Call("POST", "/", {}, form.encode())
    root = fromstring(perform(call, operation_of(call), CALLER, 0.0, 3600.0).body)  # noqa: S314  our own

    assert [root.tag, root[0].tag] == [f"{{{NAMESPACE}}}{action}Response", f"{{{NAMESPACE}}}{action}Result"]


@pytest.mark.parametrize("duration", ["-1", "", "1.5", "x", "9" * 5000])
def test_duration_that_is_none_is_refused(duration: str) -> None:
    """A DurationSeconds that is not a number of seconds is refused, however many digits it has."""
    form = urlencode({"RoleArn": ROLE_ARN, "RoleSessionName": "run-1", "DurationSeconds": duration})

    with pytest.raises(ApiError, match="400 ValidationException"):
        perform(Call("POST", "/", {}, form.encode()), "assume_role", CALLER, 0.0, 3600.0)


def test_other_actions_are_not_served(emulator: Emulator) -> None:
    """Any other action is refused as invalid."""
    with pytest.raises(ClientError, match="InvalidAction"):
        client(emulator.url, service="sts").get_session_token()


def test_expired_token_in_the_query_protocol(emulator: Emulator) -> None:
    """STS names an expired token as the query protocol does."""
    sts = _assumed(emulator, "sts")
    emulator.behaviour = Behaviour(tokens_since=4e9)

    with pytest.raises(ClientError) as caught:
        sts.get_caller_identity()
    assert caught.value.response["Error"]["Code"] == "ExpiredToken"


def test_form_that_is_not_text() -> None:
    """A form of arbitrary bytes is read as far as possible."""
    assert parameters_of(Call("POST", "/", {}, b"Action=\xff&x")) == {"Action": "\ufffd", "x": ""}
