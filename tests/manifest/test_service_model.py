"""The service model of the installed botocore: each of its limits is enforced by ours, so that a newer one shows.

The test walks the input of CreateConfiguredModelAlgorithm, makes values on both sides of each limit, and holds them
against :func:`provisioner.manifest.definition.parse`. Where ours is stricter, on purpose, STRICTER says why.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import botocore.loaders
import pytest

from provisioner.manifest.definition import Definition
from provisioner.manifest.parser import Rules, parse
from provisioner.manifest.problems import InvalidDefinitionError
from tests.definition_lines import FULL, IMAGE, KEY, ROLE, line_of

if TYPE_CHECKING:
    from collections.abc import Callable

OPERATION = "CreateConfiguredModelAlgorithm"
MODEL = botocore.loaders.Loader().load_service_model("cleanroomsml", "service-2", "2023-09-06")
SHAPES: dict[str, dict[str, Any]] = MODEL["shapes"]
INPUT: str = MODEL["operations"][OPERATION]["input"]["shape"]
TRAITS = {
    "structure": {"type", "members", "required"},
    "list": {"type", "member", "min", "max"},
    "map": {"type", "key", "value", "min", "max"},
    "string": {"type", "min", "max", "pattern"},
}
"""What this test knows how to prove, by kind of shape; anything else in a newer model is for a person to look at."""

STRICTER = {
    "TagMap": {"max": 50},  # the documentation of tags in the same model: "Maximum number of tags per resource - 50"
}
"""Further, the characters of tags and the form of an image URI, of which the model's documentation says more."""

Steps = tuple[str | int, ...]
KEY_OF_A_MAP = "<key>"


class Place(NamedTuple):
    """Where a shape stands in the input."""

    path: Steps
    shape: str


def places(shape: str = INPUT, path: Steps = ()) -> list[Place]:
    """Every shape in the input, with the place in FULL where a value of it stands."""
    model = SHAPES[shape]
    found = [Place(path, shape)]
    match model["type"]:
        case "structure":
            for name, member in model["members"].items():
                found += places(member["shape"], (*path, name))
        case "list":
            found += places(model["member"]["shape"], (*path, 0))
        case "map":
            found += places(model["key"]["shape"], (*path, KEY_OF_A_MAP))
            found += places(model["value"]["shape"], (*path, "team"))
    return found


ALL = places()
STRINGS = [place for place in ALL if SHAPES[place.shape]["type"] == "string"]
LISTS = [place for place in ALL if SHAPES[place.shape]["type"] == "list"]
MAPS = [place for place in ALL if SHAPES[place.shape]["type"] == "map"]
STRUCTURES = [place for place in ALL if SHAPES[place.shape]["type"] == "structure"]


def shown(place: Place) -> str:
    """The place, as a test's name."""
    return ".".join(map(str, place.path)) or "input"


def put(path: Steps, value: object) -> Any:
    """FULL with ``value`` at ``path``; as the only key of the map where the path ends with KEY_OF_A_MAP."""
    if not path:
        return value
    whole: Any = copy.deepcopy(FULL)
    inner = whole
    for step in path[:-1]:
        inner = inner[step]
    if path[-1] == KEY_OF_A_MAP:
        inner.clear()
        inner[value] = "v"
    else:
        inner[path[-1]] = value
    return whole


def at(path: Steps) -> Any:
    """The value of FULL at ``path``."""
    inner: Any = FULL
    for step in path:
        inner = "team" if step == KEY_OF_A_MAP else inner[step]
    return copy.deepcopy(inner)


def accepted(path: Steps, value: object) -> bool:
    """Whether FULL with ``value`` at ``path`` is a definition."""
    try:
        parse(line_of(put(path, value)), Rules())
    except InvalidDefinitionError:
        return False
    return True


def text_of(place: Place, length: int) -> str:
    """A text of that length which keeps the pattern of the shape, if any text so long can."""
    heads = {"IamRoleArn": ROLE, "KmsKeyArn": KEY, "AlgorithmImage": IMAGE.partition(":")[0]}
    head = heads.get(place.shape, "")
    return (head + "x" * length)[: max(length, len(head) + 1)] if head else "x" * length


def model_pattern(place: Place) -> re.Pattern[str]:
    """The pattern of the shape as the service's Java reads it, for Python."""
    pattern = SHAPES[place.shape].get("pattern", r"[\s\S]*")
    # Java's character class of 16-bit units: the surrogates together stand for all that is beyond U+FFFF.
    pattern = pattern.replace(r"\uD800\uDBFF-\uDC00\uDFFF", r"\U00010000-\U0010FFFF")
    # Java's dot and \s, and its $ before a final line terminator.
    pattern = re.sub(r"(?<!\\)\.(?=[*+])", r"[^\\n\\r\\u0085\\u2028\\u2029]", pattern)
    pattern = pattern.replace(r"\s*$", r"[ \t\n\x0b\f\r]*(?:\r\n|[\n\r\u0085\u2028\u2029])?\Z")
    return re.compile(pattern)


def test_the_model_says_nothing_new() -> None:
    """Each shape of the input has only traits that these tests prove."""
    for place in ALL:
        model = SHAPES[place.shape]
        assert set(model) - {"documentation", "sensitive"} <= TRAITS[model["type"]], place


def test_every_limit_of_the_model_is_walked() -> None:
    """The walk finds every shape that can be reached, so that none is skipped for being nested."""
    assert len(STRINGS) == 12
    assert {place.shape for place in LISTS} == {"ContainerEntrypoint", "ContainerArguments", "MetricDefinitionList"}
    assert {place.shape for place in MAPS} == {"TagMap"}
    assert len(STRUCTURES) == 4


@pytest.mark.parametrize("place", STRUCTURES, ids=shown)
def test_members(place: Place) -> None:
    """Each member of the model is a field of ours and none is missing; what it requires, we require, and no more."""
    model = SHAPES[place.shape]
    value = at(place.path)

    assert set(value) == set(model["members"]), "FULL has a value for each member"
    for member in model["members"]:
        without = {key: inner for key, inner in value.items() if key != member}
        assert accepted(place.path, without) is (member not in model.get("required", []))
    assert not accepted(place.path, value | {"notInTheModel": "x"})


@pytest.mark.parametrize("place", ALL, ids=shown)
def test_types(place: Place) -> None:
    """A value of any other type than the model's is refused."""
    own = {"structure": dict, "map": dict, "list": list, "string": str}[SHAPES[place.shape]["type"]]
    if place.path and place.path[-1] == KEY_OF_A_MAP:
        return
    values: list[object] = [{}, [], "x", 1, 1.5, True, None]
    for value in values:
        if not isinstance(value, own):
            assert not accepted(place.path, value), value


@pytest.mark.parametrize("place", STRINGS, ids=shown)
def test_lengths(place: Place) -> None:
    """The longest and the shortest text of the model are accepted, where its pattern lets them be; one more is not."""
    model = SHAPES[place.shape]
    least, most = model.get("min", 0), model["max"]

    assert accepted(place.path, text_of(place, most))
    assert not accepted(place.path, text_of(place, most + 1))
    shortest = next(
        length for length in range(least, most) if model_pattern(place).fullmatch(text_of(place, least)[:length])
    )
    assert accepted(place.path, text_of(place, max(shortest, least)))
    assert least == 0 or not accepted(place.path, text_of(place, most)[: least - 1])


CHARACTERS = [chr(code) for code in range(0x100)] + list(
    "\u0100\u2027\u2028\u2029\u202a\u3000\ud7ff\ue000\ufefe\uff00\ufffd\ufffe\uffff\U00010000\U0001f600\U0010ffff"
)


@pytest.mark.parametrize("place", STRINGS, ids=shown)
def test_characters(place: Place) -> None:
    """What the model's pattern refuses is refused: each character at the start, within and at the end, and alone."""
    pattern, value = model_pattern(place), at(place.path)
    for character in CHARACTERS:
        for text in (character + value, value[:-1] + character + value[-1], value + character, character):
            if not pattern.fullmatch(text):
                assert not accepted(place.path, text), ascii(text)


@pytest.mark.parametrize(
    "place", [place for place in STRINGS if place.shape in {"NameString", "ResourceDescription"}], ids=shown
)
def test_characters_that_are_accepted(place: Place) -> None:
    """Names and descriptions take every character that the model's pattern takes, not only those that we thought of."""
    pattern = model_pattern(place)
    for character in CHARACTERS:
        text = f"a{character}b"
        if pattern.fullmatch(text):
            assert accepted(place.path, text), ascii(text)


ARN_FAULTS = [
    ("arn:", "arm:"),
    ("aws:", "AWS:"),
    ("aws:", "aws1:"),
    ("iam::", "iam:us-east-1:"),
    (":kms:", ":kms2:"),
    ("us-east-1", ""),
    ("us-east-1", "US"),
    ("123456789012", "12345678901"),
    ("123456789012", "1234567890123"),
    ("123456789012", "12345678901a"),
    ("role/", "role:"),
    ("role/access", "role/"),
    ("role/", "user/"),
    ("key/", "alias/"),
    ("key/1234abcd", "key/"),
]


@pytest.mark.parametrize("place", [place for place in STRINGS if place.shape in {"IamRoleArn", "KmsKeyArn"}], ids=shown)
def test_arns(place: Place) -> None:
    """A piece of an ARN that the model's pattern refuses is refused; what it takes is taken."""
    pattern, value = model_pattern(place), at(place.path)
    changes = [value.replace(old, new) for old, new in ARN_FAULTS if old in value]

    assert len(changes) > 8
    for text in [
        *changes,
        value.replace("aws", "aws-us-gov"),
        value.replace("aws", "aws-"),
        value + "/more",
        " " + value,
    ]:
        assert accepted(place.path, text) is bool(pattern.fullmatch(text)), text


@pytest.mark.parametrize("place", LISTS, ids=shown)
def test_list_lengths(place: Place) -> None:
    """As many items as the model allows are accepted, one more or one less is not."""
    model = SHAPES[place.shape]
    (item, *_) = at(place.path)
    least, most = model.get("min", 0), model["max"]

    assert accepted(place.path, [item] * least)
    assert accepted(place.path, [item] * most)
    assert not accepted(place.path, [item] * (most + 1))
    assert least == 0 or not accepted(place.path, [item] * (least - 1))


@pytest.mark.parametrize("place", MAPS, ids=shown)
def test_map_lengths(place: Place) -> None:
    """As many tags as are allowed are accepted, one more is not; the documentation's limit is below the model's."""
    model = SHAPES[place.shape]
    most = STRICTER[place.shape]["max"]

    assert most <= model["max"]
    assert model.get("min", 0) == 0
    assert accepted(place.path, {})
    assert accepted(place.path, {f"key{number}": "v" for number in range(most)})
    assert not accepted(place.path, {f"key{number}": "v" for number in range(most + 1)})


def test_the_documentation_still_says_fifty() -> None:
    """The limit of 50 tags and the reserved prefix stand in the model's own documentation."""
    documentation = SHAPES[INPUT]["members"]["tags"]["documentation"]

    assert "Maximum number of tags per resource - 50" in documentation
    assert "Do not use aws:, AWS:, or any upper or lowercase combination of such as a prefix for keys" in documentation
    assert "Generally allowed characters are: letters, numbers, and spaces" in documentation
    assert "+ - = . _ : / @" in documentation


def test_the_request_is_what_the_model_names() -> None:
    """A definition with everything is sent under the names of the model, nothing else."""
    body = parse(line_of(FULL), Rules()).canonical().request({})

    assert parse(body, Rules()) == Definition.from_request(body)
    assert MODEL["metadata"]["protocol"] == "rest-json"
    assert MODEL["operations"][OPERATION]["http"] == {
        "method": "POST",
        "requestUri": "/configured-model-algorithms",
        "responseCode": 200,
    }


# What the product relies on, and whether a change of it would be noticed.

CONTRACT = Path(__file__).with_name("service-model.txt")
"""One line for each fact of the model that our calls depend on: how requests are signed and sent, which operations
touch an algorithm or its tags, what they take, answer and refuse. A newer model that differs is for a person to read
first: a new error needs a verdict, a status in the answer means that a create goes on after its reply, an Update
operation changes what drift means."""


def facts(model: dict[str, Any]) -> set[str]:
    """Every line of the contract that the model gives."""
    found = {f"metadata.{name} = {json.dumps(value)}" for name, value in model["metadata"].items()}
    for name, operation in model["operations"].items():
        address = operation["http"]["requestUri"]
        if re.search("ConfiguredModelAlgorithms?$", name) or re.match(
            "/(configured-model-algorithms|tags)\\b", address
        ):
            found |= facts_of(model["shapes"], name, operation)
    return found


def facts_of(shapes: dict[str, Any], path: str, value: Any) -> set[str]:
    """The facts of an operation, a shape or a member, with all the shapes in it; what only people read is left out."""
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):  # the errors of an operation
        return {fact for item in value for fact in facts_of(shapes, f"{path}.{item['shape']}", item)}
    if not isinstance(value, dict):
        return {f"{path} = {json.dumps(value)}"}
    found = {f"{path} = {{}}"} if not value else set()
    for name, inner in value.items():
        if name == "shape":
            found |= facts_of(shapes, path, shapes[inner])
        elif name not in {"documentation", "documentationUrl"} or path.endswith(".members"):
            found |= facts_of(shapes, f"{path}.{name}", inner)
    return found


def test_the_contract_is_what_the_model_says() -> None:
    """The installed model says what service-model.txt says: whoever updates the one reads the other."""
    assert sorted(facts(MODEL)) == CONTRACT.read_text().splitlines()


CREATE, GET = OPERATION, "GetConfiguredModelAlgorithm"
STRING = {"shape": "String"}


def operation(model: dict[str, Any], name: str = CREATE) -> dict[str, Any]:
    """An operation of the model, to be changed."""
    changed: dict[str, Any] = model["operations"][name]
    return changed


def shape(model: dict[str, Any], name: str) -> dict[str, Any]:
    """A shape of the model, to be changed."""
    changed: dict[str, Any] = model["shapes"][name]
    return changed


def new_operation(model: dict[str, Any], name: str, method: str, address: str) -> None:
    """Add an operation to the model."""
    model["operations"][name] = {"name": name, "http": {"method": method, "requestUri": address, "responseCode": 200}}


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another protocol": lambda m: m["metadata"].update(protocol="smithy-rpc-v2-cbor"),
    "a further protocol": lambda m: m["metadata"]["protocols"].append("smithy-rpc-v2-cbor"),
    "another signature": lambda m: m["metadata"].update(signatureVersion="v4a"),
    "another authentication": lambda m: m["metadata"].update(auth=["aws.auth#sigv4a"]),
    "another signing name": lambda m: m["metadata"].update(signingName="cleanroomsml"),
    "another host": lambda m: m["metadata"].update(endpointPrefix="cleanroomsml"),
    "a new trait of the service": lambda m: m["metadata"].update(awsQueryCompatible={}),
    "an Update operation": lambda m: new_operation(
        m, "UpdateConfiguredModelAlgorithm", "PATCH", "/configured-model-algorithms/{configuredModelAlgorithmArn}"
    ),
    "a batch operation": lambda m: new_operation(
        m, "BatchRegisterAlgorithms", "POST", "/configured-model-algorithms/batch"
    ),
    "a new operation on tags": lambda m: new_operation(m, "ReplaceTags", "PUT", "/tags/{resourceArn}"),
    "an operation is gone": lambda m: m["operations"].pop("DeleteConfiguredModelAlgorithm"),
    "another method": lambda m: operation(m)["http"].update(method="PUT"),
    "another address": lambda m: operation(m)["http"].update(requestUri="/v2/configured-model-algorithms"),
    "another status": lambda m: operation(m)["http"].update(responseCode=202),
    "a checksum": lambda m: operation(m).update(httpChecksum={"requestChecksumRequired": True}),
    "a compressed body": lambda m: operation(m).update(requestcompression={"encodings": ["gzip"]}),
    "a host prefix": lambda m: operation(m).update(endpoint={"hostPrefix": "control."}),
    "authentication of one operation": lambda m: operation(m).update(auth=["smithy.api#httpBearerAuth"]),
    "no longer idempotent": lambda m: operation(m).pop("idempotent"),
    "deprecated": lambda m: operation(m).update(deprecated=True),
    "a new error": lambda m: operation(m)["errors"].append({"shape": "ThrottlingException"}),
    "a new error of Get": lambda m: operation(m, GET)["errors"].append({"shape": "ConflictException"}),
    "an error is gone": lambda m: operation(m)["errors"].pop(),
    "another status of an error": lambda m: shape(m, "ServiceQuotaExceededException")["error"].update(
        httpStatusCode=429
    ),
    "an error that may be sent again": lambda m: shape(m, "ConflictException").update(retryable={"throttling": False}),
    "an error without its quota": lambda m: shape(m, "ServiceQuotaExceededException")["members"].pop("quotaValue"),
    "a client token": lambda m: shape(m, INPUT)["members"].update(clientToken=STRING | {"idempotencyToken": True}),
    "a new required member": lambda m: shape(m, INPUT)["required"].append("description"),
    "a member in a header": lambda m: shape(m, INPUT)["members"]["name"].update(
        location="header", locationName="x-name"
    ),
    "another name on the wire": lambda m: shape(m, INPUT)["members"]["roleArn"].update(locationName="role"),
    "a longer name": lambda m: shape(m, "NameString").update(max=255),
    "another pattern": lambda m: shape(m, "NameString").update(pattern="[a-z]+"),
    "an enumeration": lambda m: shape(m, "AlgorithmImage").update(enum=["a", "b"]),
    "a nested member": lambda m: shape(m, "ContainerConfig")["members"].update(command=STRING),
    "a status in the answer": lambda m: shape(m, "CreateConfiguredModelAlgorithmResponse")["members"].update(
        status=STRING
    ),
    "an answer without an ARN": lambda m: shape(m, "CreateConfiguredModelAlgorithmResponse")["required"].clear(),
    "another form of ARNs": lambda m: shape(m, "ConfiguredModelAlgorithmArn").update(pattern="arn:.*"),
    "a status in Get": lambda m: shape(m, "GetConfiguredModelAlgorithmResponse")["members"].update(status=STRING),
    "tags are gone from Get": lambda m: shape(m, "GetConfiguredModelAlgorithmResponse")["members"].pop("tags"),
    "a status in List": lambda m: shape(m, "ConfiguredModelAlgorithmSummary")["members"].update(status=STRING),
    "smaller pages": lambda m: shape(m, "MaxResults").update(max=10),
    "a filter of List": lambda m: shape(m, "ListConfiguredModelAlgorithmsRequest")["members"].update(name=STRING),
    "more tags": lambda m: shape(m, "TagMap").update(max=500),
}
"""What a newer model could bring."""


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_the_model_is_noticed(change: Callable[[dict[str, Any]], object]) -> None:
    """Whatever a newer model changes in what we rely on, it differs from the contract."""
    model = copy.deepcopy(MODEL)
    change(model)

    assert facts(model) != set(CONTRACT.read_text().splitlines())


def test_what_only_people_read_may_change() -> None:
    """Documentation, and operations on other resources, are no part of the contract."""
    model = copy.deepcopy(MODEL)
    model["documentation"] = operation(model)["documentation"] = shape(model, INPUT)["documentation"] = "new"
    shape(model, INPUT)["members"]["name"]["documentation"] = "new"
    new_operation(model, "UpdateTrainingDataset", "PATCH", "/training-dataset/{trainingDatasetArn}")

    assert facts(model) == facts(MODEL)
