"""GetResources of the resource groups tagging API, through boto3's own client of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from provisioner.emulator import Behaviour, running, truth_at
from provisioner.emulator.state import Accounts
from provisioner.emulator.tagging import parse, perform
from provisioner.emulator.wire import ApiError, Call

from .support import client, definition, seeded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.emulator import Emulator

ALGORITHM_TYPE = "cleanrooms-ml:configured-model-algorithm"
HOUR = 3600.0


class Account:
    """Both clients of one account and Region."""

    def __init__(self, emulator: Emulator, account_id: str = "123456789012", region: str = "us-east-1") -> None:
        self.emulator = emulator
        self.cleanrooms = client(emulator.url, account_id, region)
        self.tagging = client(emulator.url, account_id, region, "resourcegroupstaggingapi")

    def create(self, name: str, **tags: str) -> str:
        """The ARN of a new algorithm."""
        made = self.cleanrooms.create_configured_model_algorithm(**definition(name, tags=tags))
        return str(made["configuredModelAlgorithmArn"])

    def resources(self, **parameters: Any) -> dict[str, dict[str, str]]:
        """The tags of every resource, by ARN, over all pages; each at most once."""
        found: dict[str, dict[str, str]] = {}
        token = ""
        while True:
            page = self.tagging.get_resources(**parameters, **({"PaginationToken": token} if token else {}))
            for resource in page["ResourceTagMappingList"]:
                assert resource["ResourceARN"] not in found
                found[resource["ResourceARN"]] = {tag["Key"]: tag["Value"] for tag in resource["Tags"]}
            token = page["PaginationToken"]
            if not token:
                return found

    def behave(self, **switches: Any) -> None:
        """Sets the endpoint's switches."""
        self.emulator.behaviour = Behaviour(**switches)

    def refused(self, **parameters: Any) -> tuple[int, str]:
        """Status and code of a call that must fail."""
        with pytest.raises(ClientError) as caught:
            self.tagging.get_resources(**parameters)
        response = caught.value.response
        assert response["Error"]["Message"]
        return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


@pytest.fixture
def account() -> Iterator[Account]:
    """An account of an endpoint in a thread."""
    with running() as emulator:
        yield Account(emulator)


def test_every_algorithm_comes_once_with_all_its_tags(account: Account) -> None:
    """Over pages of any size, each algorithm comes once, with its tags; the last page has an empty token."""
    made = {account.create(f"n{number}", k="v", number=str(number)): str(number) for number in range(25)}

    for size in ({}, {"ResourcesPerPage": 1}, {"ResourcesPerPage": 10}, {"ResourcesPerPage": 25}):
        found = account.resources(**size)
        assert found == {arn: {"k": "v", "number": number} for arn, number in made.items()}
    assert account.emulator.truth.count("get_resources", 200) == 1 + 25 + 3 + 1


def test_page_sizes(account: Account) -> None:
    """A page has 50 resources by default, and 1 to 100 on request."""
    for number in range(101):
        account.create(f"n{number}", k="v")

    assert len(account.tagging.get_resources()["ResourceTagMappingList"]) == 50
    assert len(account.tagging.get_resources(ResourcesPerPage=100)["ResourceTagMappingList"]) == 100
    assert account.refused(ResourcesPerPage=0) == (400, "InvalidParameterException")
    assert account.refused(ResourcesPerPage=101) == (400, "InvalidParameterException")


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ([{"Key": "team"}], "abc"),
        ([{"Key": "team", "Values": ["ads"]}], "ab"),
        ([{"Key": "team", "Values": ["ads", "ops"]}], "abc"),
        ([{"Key": "team", "Values": ["ads"]}, {"Key": "tier"}], "b"),
        ([{"Key": "Team"}], ""),
        ([{"Key": "team", "Values": ["Ads"]}], ""),
        ([], "abcd"),
    ],
)
def test_tag_filters(account: Account, filters: list[dict[str, Any]], names: str) -> None:
    """Every filter must fit: its key, and one of its values if it has any; both are case sensitive."""
    arns = {
        account.create("a", team="ads"): "a",
        account.create("b", team="ads", tier="1"): "b",
        account.create("c", team="ops"): "c",
        account.create("d", other="x"): "d",
    }

    assert "".join(sorted(arns[arn] for arn in account.resources(TagFilters=filters))) == names


@pytest.mark.parametrize(
    ("types", "found"),
    [(["cleanrooms-ml"], 1), ([ALGORITHM_TYPE], 1), (["ec2:instance", ALGORITHM_TYPE], 1), (["ec2"], 0), ([], 1)],
)
def test_resource_types(account: Account, types: list[str], found: int) -> None:
    """An algorithm passes the filter of its service and that of its type."""
    account.create("a", k="v")

    assert len(account.resources(ResourceTypeFilters=types)) == found


def test_arns_can_be_asked_for(account: Account) -> None:
    """A list of ARNs returns those that exist, without an error for the others, and takes no pagination."""
    arns = [account.create(name, k=name) for name in "abc"]
    found = account.resources(ResourceARNList=[*arns[:2], arns[2] + "x"])

    assert found == {arns[0]: {"k": "a"}, arns[1]: {"k": "b"}}
    assert account.refused(ResourceARNList=arns, ResourcesPerPage=5) == (400, "InvalidParameterException")


def test_only_what_was_ever_tagged_is_known(account: Account) -> None:
    """An algorithm that never had a tag is not returned; one that lost its tags is, without any."""
    account.create("never")
    lost = account.create("lost", k="v")
    account.cleanrooms.untag_resource(resourceArn=lost, tagKeys=["k"])

    assert account.resources() == {lost: {}}


def test_accounts_and_regions_are_apart(account: Account) -> None:
    """GetResources returns what is in its own account and Region, and no token of another one is valid."""
    for number in range(2):
        account.create(f"n{number}", k="v")
    token = account.tagging.get_resources(ResourcesPerPage=1)["PaginationToken"]
    others = [Account(account.emulator, "111122223333"), Account(account.emulator, region="eu-west-1")]

    for other in others:
        assert other.resources() == {}
        assert other.refused(PaginationToken=token) == (400, "InvalidParameterException")
    assert account.refused(PaginationToken="nonsense") == (400, "InvalidParameterException")


def test_it_lags(account: Account) -> None:
    """A create, a change of tags and a delete show only after the lag; Get shows them at once."""
    old = account.create("old", k="old")
    account.behave(tagging_lag=HOUR)
    assert account.resources() == {}

    account.behave()
    assert account.resources() == {old: {"k": "old"}}
    account.cleanrooms.tag_resource(resourceArn=old, tags={"k": "new"})
    account.cleanrooms.delete_configured_model_algorithm(configuredModelAlgorithmArn=old)
    assert account.resources() == {}


@pytest.mark.parametrize(
    ("now", "seen"),
    [(159, None), (160, "1"), (219, "1"), (220, "2"), (279, "2"), (280, "3"), (339, "3"), (340, None)],
)
def test_the_lag_is_exact(now: float, seen: str | None) -> None:
    """With a lag of a minute, GetResources shows what was true a minute ago, however often the tags changed."""
    target = Accounts(seeded()).target("123456789012", "us-east-1")
    arn = target.create(definition(tags={"k": "1"}), 100.0)[0].arn
    target.tag(arn, {"k": "2"}, 160.0)
    target.tag(arn, {"k": "3"}, 220.0)
    target.delete(arn, 280.0)

    body = perform(target, "get_resources", {}, now, Behaviour(tagging_lag=60.0))[0].body.decode()
    assert (f'"Value":"{seen}"' in body) == (seen is not None)
    assert (arn in body) == (seen is not None)


def test_it_may_not_cover_everything(account: Account) -> None:
    """A share of algorithms is never returned, the same ones in every sweep and by ARN; List has them all."""
    arns = {account.create(f"n{number}", k="v") for number in range(60)}
    account.behave(tagging_omissions=0.3)
    found = account.resources(ResourcesPerPage=7)

    assert 5 <= len(arns - found.keys()) <= 35
    assert account.resources() == found
    assert account.resources(ResourceARNList=sorted(arns)) == found
    account.behave(tagging_omissions=1.0)
    assert account.resources(ResourcesPerPage=7) == {}
    listed = account.cleanrooms.list_configured_model_algorithms()["configuredModelAlgorithms"]
    assert {each["configuredModelAlgorithmArn"] for each in listed} == arns


def test_a_short_page_is_not_the_last(account: Account) -> None:
    """What is omitted leaves its page short or empty, and the token still leads on."""
    for number in range(10):
        account.create(f"n{number}", k="v")
    account.behave(tagging_omissions=1.0)
    page = account.tagging.get_resources(ResourcesPerPage=5)

    assert page["ResourceTagMappingList"] == []
    assert page["PaginationToken"]


def test_it_may_return_what_is_gone(account: Account) -> None:
    """Ghosts: a share of the deleted algorithms is returned forever, with the tags they had."""
    arns = {name: account.create(name, k=name) for name in "abcdefgh"}
    for name in "abcd":
        account.cleanrooms.delete_configured_model_algorithm(configuredModelAlgorithmArn=arns[name])

    assert account.resources() == {arns[name]: {"k": name} for name in "efgh"}
    account.behave(tagging_ghosts=1.0)
    assert account.resources() == {arn: {"k": name} for name, arn in arns.items()}
    account.behave(tagging_ghosts=0.5)
    assert 4 <= len(account.resources()) <= 8
    with pytest.raises(account.cleanrooms.exceptions.ResourceNotFoundException):
        account.cleanrooms.get_configured_model_algorithm(configuredModelAlgorithmArn=arns["a"])


def test_a_token_expires(account: Account) -> None:
    """A PaginationToken is valid for 15 minutes."""
    for number in range(2):
        account.create(f"n{number}", k="v")
    _, _, cursor = account.tagging.get_resources(ResourcesPerPage=1)["PaginationToken"].partition(".")
    issued = int(time.time())

    assert account.refused(PaginationToken=f"{issued - 960}.{cursor}") == (400, "PaginationTokenExpiredException")
    assert len(account.tagging.get_resources(PaginationToken=f"{issued - 800}.{cursor}")["ResourceTagMappingList"]) == 1


@pytest.mark.parametrize(
    ("switches", "status", "code"),
    [
        ({"read_rate": 0.001}, 400, "ThrottledException"),
        ({"denied_actions": ("tag:GetResources",)}, 400, "AccessDeniedException"),
        ({"denied": True}, 400, "AccessDeniedException"),
        ({"read_error": 1.0}, 500, "InternalServiceException"),
        ({"get_resources_script": ("slow_down",)}, 503, "SlowDown"),
        ({"get_resources_script": ("bare_throttle",)}, 429, "429"),
        ({"get_resources_script": ("expired_token",)}, 400, "ExpiredTokenException"),
    ],
)
def test_errors_have_the_form_of_json_1_1(account: Account, switches: dict[str, Any], status: int, code: str) -> None:
    """Throttles and denials are 400 with a code, as services with this protocol answer; the service's failures 5xx."""
    account.behave(**switches)
    if "read_rate" in switches:
        account.tagging.get_resources()

    assert account.refused() == (status, code)
    assert account.emulator.truth.count("get_resources", status) == 1


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b"7", b"[" * 100_000])
def test_body_that_is_no_json_object(body: bytes) -> None:
    """A body that is not a JSON object is refused by the code for that, as by Clean Rooms ML."""
    with pytest.raises(ApiError, match="400 SerializationException"):
        parse(Call("POST", "/", {}, body), "get_resources")


def test_a_denied_action_leaves_the_others(account: Account) -> None:
    """Without tag:GetResources the calls of Clean Rooms ML still work."""
    account.behave(denied_actions=("tag:GetResources",))

    assert account.create("a", k="v")
    assert account.refused()[1] == "AccessDeniedException"


def test_a_scripted_page_can_break_off(account: Account) -> None:
    """A script names the fault of each page: a closed connection, half the JSON (nothing to botocore), none."""
    account.create("a", k="v")
    account.behave(get_resources_script=("lost_reply", "truncated", "ok"))

    with pytest.raises(ConnectionClosedError):
        account.tagging.get_resources()
    assert "ResourceTagMappingList" not in account.tagging.get_resources()
    assert len(account.resources()) == 1
    assert truth_at(account.emulator.url).calls["get_resources"] == {0: 1, 200: 2}


def test_old_signatures_are_refused(account: Account) -> None:
    """A signature that is too old is refused as services with this protocol refuse it: 400."""
    account.behave(clock_offset=HOUR)

    assert account.refused() == (400, "InvalidSignatureException")


def test_other_operations_are_not_served(account: Account) -> None:
    """Of this API the endpoint serves GetResources alone."""
    with pytest.raises(ClientError, match="UnknownOperationException"):
        account.tagging.get_tag_keys()
    with pytest.raises(ClientError, match="UnknownOperationException"):
        account.tagging.tag_resources(ResourceARNList=["arn:aws:x"], Tags={"k": "v"})
