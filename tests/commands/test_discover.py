"""What exists in a target becomes a manifest, over fakes and in virtual time."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from provisioner.aws.faces import CallError, Described
from provisioner.commands.discover import UnreadError, line_of, read
from provisioner.core.place import Place
from provisioner.core.verdict import Reply
from provisioner.engine.inventory import IncompleteListError
from provisioner.errors import Reason
from provisioner.manifest.definition import Definition
from provisioner.manifest.problems import InvalidDefinitionError
from tests.definition_lines import FULL, IMAGE, LEAST, definitions
from tests.definition_lines import line_of as json_of
from tests.fakes import ACCOUNT_ID, LEDGER_ID, ROLE, TAG, Endpoint, FakeLedger, open_target
from tests.virtual_time import virtual_time

ORIGIN = f"v1/{LEDGER_ID}/{'0' * 32}/run-1"
FAULT = Reply(status=500, code="InternalFailure", request_id="r")
DENIED = Reply(status=403, code="AccessDeniedException", message="not authorized", request_id="r")
GONE = Reply(status=404, code="ResourceNotFoundException", request_id="r")


def endpoint_with(*names: str) -> Endpoint:
    """An endpoint with an algorithm of each of these names, the first one the oldest; its List has small pages."""
    endpoint = Endpoint(page_size=2)
    for number, name in enumerate(names):
        endpoint.put(json_of({"name": name, "roleArn": ROLE}), since=-100.0 + number)
    return endpoint


async def names_in(endpoint: Endpoint, *globs: str) -> tuple[list[str], list[str]]:
    """The names that are read, and the messages of the notices."""
    found, notices = await read(open_target(endpoint, FakeLedger()), TAG, globs)
    assert all((notice.code, notice.severity) == ("duplicate", "notice") for notice in notices)
    return [one.name for one in found], [notice.message for notice in notices]


@virtual_time
async def test_what_exists_is_sorted_by_name() -> None:
    """Everything on every page, each name once, in one order whatever the order of List."""
    assert await names_in(endpoint_with("b", "é", "a", "B", "a b")) == (["B", "a", "a b", "b", "é"], [])


@virtual_time
async def test_globs_select_names() -> None:
    """A name counts if it matches one of the globs, letter for letter; what does not match is not read."""
    endpoint = endpoint_with("a-1", "A-1", "b-1", "c[1]")

    assert await names_in(endpoint, "a*", "c[[]?]") == (["a-1", "c[1]"], [])
    assert endpoint.count("get") == 2
    assert await names_in(endpoint, "z*") == ([], [])


@virtual_time
async def test_of_several_algorithms_of_a_name_the_newest_counts() -> None:
    """The newest is written, and a notice names it and each older one."""
    endpoint = endpoint_with("a", "b", "a", "a")
    oldest, older, newest = (one.arn for one in endpoint.named("a"))

    names, notices = await names_in(endpoint)
    found, _ = await read(open_target(endpoint, FakeLedger()), TAG)

    assert names == ["a", "b"]
    assert found[0].arn == newest
    assert notices == [f"{arn} has this name too; the manifest has the newer {newest}" for arn in (oldest, older)]


@virtual_time
async def test_an_incomplete_list_gives_nothing() -> None:
    """A List that breaks off after its first page is no manifest: run again."""
    endpoint = endpoint_with("a", "b", "c")
    endpoint.list_failures = [None] + [FAULT] * 8

    with pytest.raises(IncompleteListError) as caught:
        await read(open_target(endpoint, FakeLedger()), TAG)

    assert caught.value.reason is Reason.UNFINISHED
    assert endpoint.count("get") == 0


@virtual_time
@pytest.mark.parametrize("failures", [[GONE], [None, GONE], [FAULT] * 8 * 3])
async def test_an_algorithm_that_cannot_be_read_gives_nothing(failures: list[Reply | None]) -> None:
    """What List shows and Get does not is neither left out nor made up, whichever of them lags: run again."""
    endpoint = endpoint_with("a", "b", "c")
    endpoint.get_failures = failures

    with pytest.raises(UnreadError) as caught:
        await read(open_target(endpoint, FakeLedger()), TAG)

    assert caught.value.reason is Reason.UNFINISHED


@virtual_time
@pytest.mark.parametrize("kind", ["list_failures", "get_failures"])
async def test_a_denied_read_is_a_matter_of_permissions(kind: str) -> None:
    """A read that is denied is not tried again."""
    endpoint = endpoint_with("a")
    setattr(endpoint, kind, [DENIED])

    with pytest.raises(CallError) as caught:
        await read(open_target(endpoint, FakeLedger()), TAG)

    assert caught.value.reason is Reason.DENIED


def described(value: dict[str, Any], **tags: str) -> Described:
    """An algorithm as Get returns it."""
    body = {key: inner for key, inner in value.items() if key != "tags"}
    return Described("arn", value["name"], msgspec.json.encode(body), {**value.get("tags", {}), **tags})


@settings(derandomize=True)
@given(definitions)
def test_a_line_is_the_definition_that_was_created(value: dict[str, Any]) -> None:
    """Canonical form and tags come back, without the ownership tag, whatever its key, and without those of AWS."""
    wanted = msgspec.convert(value, Definition).canonical()
    algorithm = described(value, **{"provisioner:before": ORIGIN, "aws:x": "y", "AWS:z": ""})

    line = line_of(algorithm, TAG, None)

    assert Definition.from_request(line).canonical() == wanted
    assert line == wanted.request({})


def test_an_empty_field_is_an_absent_one() -> None:
    """A service that returns empty lists and texts for what was left out means the same."""
    container = {"imageUri": IMAGE, "entrypoint": [], "arguments": [], "metricDefinitions": []}
    empty = {**LEAST, "description": "", "kmsKeyArn": "", "trainingContainerConfig": container}

    line = msgspec.json.decode(line_of(described(empty, team=""), TAG, None))

    assert line == {**LEAST, "trainingContainerConfig": {"imageUri": IMAGE}, "tags": {"team": ""}}


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({**LEAST, "trainingContainerConfig": {"imageUri": "train"}}, "pattern"),
        ({**LEAST, "trainingContainerConfig": {"imageUri": IMAGE, "gpus": 2}}, "unknown_field"),
        ({**LEAST, "tags": {f"k{number}": "" for number in range(50)}}, "too_many"),
        ({**LEAST, "tags": {TAG: "not ours"}}, "reserved_tag"),
    ],
)
def test_what_no_line_can_represent(value: dict[str, Any], code: str) -> None:
    """What the service holds and our rules refuse is a problem, never a line that apply refuses later."""
    with pytest.raises(InvalidDefinitionError) as caught:
        line_of(described(value), TAG, None)

    assert [problem.code for problem in caught.value.problems] == [code]


def test_placeholders_stand_for_account_and_region() -> None:
    """Every text but those of metrics: account and Region where they stand alone, other braces doubled."""
    metric = {"name": f"{{x}} {ACCOUNT_ID}", "regex": "us-east-1 ([0-9]{1,3})"}
    value = {
        **FULL,
        "name": "us-east-1 {x} us-east-1a us-east-10",
        "description": f"{ACCOUNT_ID} 0{ACCOUNT_ID} {{account_id}}",
        "trainingContainerConfig": {
            "imageUri": IMAGE,
            "arguments": ["{}", "a=us-east-1"],
            "metricDefinitions": [metric],
        },
        "tags": {"region us-east-1": f"s3:{ACCOUNT_ID}"},
    }

    line = msgspec.json.decode(line_of(described(value), TAG, Place("aws", "us-east-1", ACCOUNT_ID)))

    image = "{account_id}.dkr.ecr.{region}.amazonaws.com/train:1.0"
    assert line == {
        "name": "{region} {{x}} us-east-1a us-east-10",
        "description": f"{{account_id}} 0{ACCOUNT_ID} {{{{account_id}}}}",
        "roleArn": "arn:aws:iam::{account_id}:role/access",
        "kmsKeyArn": "arn:aws:kms:{region}:{account_id}:key/1234abcd",
        "trainingContainerConfig": {
            "imageUri": image,
            "arguments": ["{{}}", "a={region}"],
            "metricDefinitions": [metric],
        },
        "inferenceContainerConfig": {"imageUri": image},
        "tags": {"region us-east-1": "s3:{account_id}"},
    }


PLACE = Place("aws", "us-east-1", ACCOUNT_ID)


@settings(derandomize=True)
@given(definitions)
def test_placeholders_lose_nothing(value: dict[str, Any]) -> None:
    """Put the account and the Region back, and the definition is what it was."""
    plain = msgspec.json.decode(line_of(described(value), TAG, None))
    lifted = msgspec.json.decode(line_of(described(value), TAG, PLACE))

    assert _filled(lifted) == plain


def _filled(value: Any, *, metrics: bool = False) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, metrics=metrics or key == "metricDefinitions") for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, metrics=metrics) for inner in value]
    return value if metrics else value.format(account_id=ACCOUNT_ID, region="us-east-1")
