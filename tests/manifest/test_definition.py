"""Definitions: canonical form, digests, requests and the JSON Schema."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # moto needs it
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.manifest.definition import MAX_TAGS, ContainerConfig, Definition, json_schema, schemas_of_defaults
from provisioner.manifest.parser import Rules, parse
from provisioner.manifest.problems import InvalidDefinitionError
from tests.definition_lines import FULL, KEY, LEAST, REFUSED, ROLE, VALID, changed, definitions, line_of

PLAIN = Rules()
CONFIGS = Path(__file__).parents[2] / "configs"
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


# Digests and requests.


def test_digests_are_golden() -> None:
    """The digests never change: a ledger written by an earlier version still knows its definitions."""
    full, least = parse(line_of(FULL), PLAIN).canonical(), parse(line_of(LEAST), PLAIN).canonical()

    assert (full.digest, full.tags_digest) == ("151fcca15c17b891a67f460e291f150b", "0442c810f91de047db9824d78599d587")
    assert (least.digest, least.tags_digest) == ("23d2be4837740678e5fff3fe379d0be9", "44136fa355b3678a1146ad16f7e8649e")


def test_digests_are_of_the_canonical_form() -> None:
    """The digest is half the SHA-256 of compact JSON: fields in fixed order, tags sorted, nothing escaped."""
    tags = {"z": "é", "a/\u00a0": ""}
    canonical = parse(line_of({"tags": tags, "roleArn": ROLE, "name": '"\\ é\t'}), PLAIN).canonical()
    untagged = f'{{"name":"\\"\\\\ é\\t","roleArn":"{ROLE}"}}'

    assert canonical.untagged == untagged.encode()
    assert canonical.digest == sha256(untagged.encode()).hexdigest()[:32]
    assert canonical.tags_digest == sha256('{"a/\u00a0":"","z":"é"}'.encode()).hexdigest()[:32]


def test_the_digest_of_tags_is_that_of_a_definition() -> None:
    """Tags alone, as Get returns them, have the digest that a definition with them has."""
    read = parse(line_of(FULL), PLAIN)

    assert Definition.digest_of_tags(read.tags) == read.canonical().tags_digest
    assert Definition.digest_of_tags({}) == parse(line_of(LEAST), PLAIN).canonical().tags_digest


def test_empty_and_absent_have_one_digest() -> None:
    """An optional field that is present but empty is the same as one that is left out."""
    empty = LEAST | {"description": "", "tags": {}}

    assert parse(line_of(empty), PLAIN).canonical() == parse(line_of(LEAST), PLAIN).canonical()


METRICS = "trainingContainerConfig.metricDefinitions"
metrics = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("ab\u00e9\U0001d4b3"), "regex": st.sampled_from("xy")}), max_size=5
)


@given(metrics, st.data())
def test_metric_definitions_are_a_set(given_metrics: list[dict[str, str]], data: st.DataObject) -> None:
    """Their order and repetitions change neither digest nor request, as in the service, which may return any order."""
    other = data.draw(st.permutations(given_metrics)) + data.draw(st.sampled_from([[], given_metrics[:1]]))
    one, two = (parse(line_of(changed(METRICS, value)), PLAIN).canonical() for value in (given_metrics, other))
    back = Definition.from_request(one.request({})).training_container_config

    assert one == two
    assert Definition.from_request(line_of(changed(METRICS, other))).canonical() == one
    assert isinstance(back, ContainerConfig)
    assert [(metric.name, metric.regex) for metric in back.metric_definitions] == sorted(
        {(metric["name"], metric["regex"]) for metric in given_metrics}
    )


@given(metrics, metrics)
def test_other_metric_definitions_have_another_digest(one: list[dict[str, str]], two: list[dict[str, str]]) -> None:
    """Two sets of metrics have one digest only when they are equal."""
    sets = [{(metric["name"], metric["regex"]) for metric in metrics} for metrics in (one, two)]
    digests = [parse(line_of(changed(METRICS, value)), PLAIN).canonical().digest for value in (one, two)]

    assert (digests[0] == digests[1]) is (sets[0] == sets[1])


@pytest.mark.parametrize("field", ["entrypoint", "arguments"])
def test_the_order_of_a_command_counts(field: str) -> None:
    """Entrypoint and arguments are lists: another order is another definition."""
    path = f"trainingContainerConfig.{field}"
    one, two = (parse(line_of(changed(path, value)), PLAIN).canonical() for value in (["b", "a"], ["a", "b"]))

    assert one.digest != two.digest
    assert json.loads(one.untagged)["trainingContainerConfig"][field] == ["b", "a"]


@pytest.mark.parametrize("path", ["name", "description", "roleArn", "kmsKeyArn", "trainingContainerConfig.arguments.0"])
def test_the_digest_covers_every_field(path: str) -> None:
    """A change outside the tags changes the first digest and not the second."""
    before = parse(line_of(FULL), PLAIN).canonical()
    value = {"roleArn": ROLE + "2", "kmsKeyArn": KEY + "2"}.get(path, "other")
    after = parse(line_of(changed(path, value)), PLAIN).canonical()

    assert after.digest != before.digest
    assert after.tags_digest == before.tags_digest


def test_tags_have_their_own_digest() -> None:
    """A change of the tags changes the second digest and not the first, even where tags look like fields."""
    before = parse(line_of(FULL), PLAIN).canonical()
    after = parse(line_of(FULL | {"tags": {"tags": ":/="}}), PLAIN).canonical()

    assert after.digest == before.digest
    assert after.tags_digest != before.tags_digest


@given(definitions, st.dictionaries(st.sampled_from(["provisioner:origin", "zz"]), st.sampled_from(["", "v1/é"])))
def test_a_request_reads_back(value: dict[str, Any], tags: dict[str, str]) -> None:
    """A request holds the definition and the added tags, and reads back as such."""
    read = parse(line_of(value), PLAIN)
    body = read.canonical().request(tags)
    back = Definition.from_request(body)

    assert back == msgspec.structs.replace(read.with_sorted_metrics(), tags=read.tags | tags)
    assert back.canonical().digest == read.canonical().digest
    assert json.loads(body) == json.loads(back.canonical().request({}))


def test_an_added_tag_wins() -> None:
    """A tag that a run adds is in the request even where the definition has the key too."""
    body = parse(line_of(FULL), PLAIN).canonical().request({"team": "run"})

    assert json.loads(body)["tags"] == FULL["tags"] | {"team": "run"}


@pytest.mark.parametrize("body", [b"", b"[]", b'{"name":"x"}', b'{"name":"\xff","roleArn":"%s"}' % ROLE.encode()])
def test_a_body_that_is_none_is_refused(body: bytes) -> None:
    """A body that is not a definition is refused."""
    with pytest.raises(InvalidDefinitionError):
        Definition.from_request(body)


# The JSON Schema.


def test_the_schema_says_every_limit() -> None:
    """The schema is of the stated draft, closed, and has a description and the limits of every string."""
    schema = json_schema()
    parts = schema["$defs"]

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$ref"] == "#/$defs/Definition"
    assert all(part["additionalProperties"] is False for part in parts.values())
    assert parts["Definition"]["required"] == ["name", "roleArn"]
    assert parts["Definition"]["properties"]["tags"]["maxProperties"] == MAX_TAGS
    strings = [
        value for part in parts.values() for value in part["properties"].values() if value.get("type") == "string"
    ]
    assert len(strings) == 8
    assert all({"maxLength", "pattern", "description"} <= set(value) for value in strings)
    assert "default" not in json.dumps(schema)


@pytest.mark.parametrize(("path", "value"), VALID)
def test_the_schema_refuses_nothing_that_is_valid(path: str, value: object) -> None:
    """The patterns of the schema, as a validator in Python reads them, accept what is accepted."""
    assert schema_accepts(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [(path, value) for path, value, _ in REFUSED],
)
def test_the_schema_refuses_what_is_not(path: str, value: object) -> None:
    """What a limit of the service refuses, the schema refuses too."""
    assert not schema_accepts(changed(path, value))


@pytest.mark.parametrize("name", ["example.jsonl", "broken.jsonl"])
def test_what_the_schema_refuses_is_refused(name: str) -> None:
    """An editor marks nothing in the examples that `validate` accepts, and finds most of what it refuses."""
    lines = (CONFIGS / name).read_bytes().splitlines()
    refused = [line for line in lines if is_json(line) and not VALIDATOR.is_valid(json.loads(line))]

    assert bool(refused) == (name == "broken.jsonl")
    for line in refused:
        with pytest.raises(InvalidDefinitionError):
            parse(line, PLAIN)


def test_defaults_have_a_schema_of_their_own() -> None:
    """Of defaults only metrics need all of their fields: a line adds what is missing elsewhere."""
    required = {name: part.get("required") for name, part in schemas_of_defaults().items()}

    assert required.pop("MetricDefinition") == ["name", "regex"]
    assert required == {"Definition": None, "ContainerConfig": None, "InferenceContainerConfig": None}


def test_editors_can_read_the_patterns() -> None:
    """ECMAScript in Unicode mode, which editors and ajv use, has no escape of a character that needs none."""
    patterns = re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', json.dumps(json_schema()))
    escaped = {letter for pattern in patterns for letter in re.findall(r"\\(.)", json.loads(pattern))}

    assert len(patterns) == 12
    assert escaped <= set("^$\\.*+?()[]{}|/tu")


def is_json(line: bytes) -> bool:
    """Whether an editor could parse a line at all."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def schema_accepts(value: object, part: dict[str, Any] | None = None, schema: dict[str, Any] | None = None) -> bool:
    """The few keywords that the schema uses, as draft 2020-12 has them."""
    schema = schema or json_schema()
    part = part or schema
    if "$ref" in part:
        return schema_accepts(value, schema["$defs"][part["$ref"].rpartition("/")[2]], schema)
    match part.get("type"):
        case "string":
            # In ECMA 262, $ is the end of the text alone.
            fits = isinstance(value, str) and re.fullmatch(part["pattern"].strip("^$"), value) is not None
            return fits and part.get("minLength", 0) <= len(str(value)) <= part["maxLength"]
        case "array":
            fits = isinstance(value, list) and part.get("minItems", 0) <= len(value) <= part["maxItems"]
            return fits and all(schema_accepts(item, part["items"], schema) for item in value)  # type: ignore[attr-defined]
    if not isinstance(value, dict):
        return False
    if "maxProperties" in part:
        names = {"type": "string"} | part["propertyNames"]
        within = len(value) <= part["maxProperties"]
        return within and all(
            schema_accepts(key, names, schema) and schema_accepts(inner, part["additionalProperties"], schema)
            for key, inner in value.items()
        )
    known = part["properties"]
    return set(part["required"]) <= set(value) <= set(known) and all(
        schema_accepts(inner, known[key], schema) for key, inner in value.items()
    )
