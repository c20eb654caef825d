"""Requests against the service model."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.emulator.model import input_check, java_pattern
from provisioner.emulator.tags import check_tags
from provisioner.manifest.parser import Rules, parse
from provisioner.manifest.problems import InvalidDefinitionError

from .support import ROLE, definition

CREATE = "CreateConfiguredModelAlgorithm"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1.0"


def _problems(parameters: object, operation: str = CREATE) -> list[str]:
    problems: list[str] = []
    input_check(operation)(parameters, "", problems)
    return problems


def _training(**more: object) -> dict[str, Any]:
    return definition(trainingContainerConfig={"imageUri": IMAGE, **more})


VALID = [
    definition(),
    definition("x" * 63, description="", tags={}),
    definition("\U0001f600 é\t~"),
    definition("\u2003\u00a0"),
    definition(description="two\r\nlines", kmsKeyArn="arn:aws:kms:us-east-1:123456789012:key/1"),
    definition(description=None),
    definition(inferenceContainerConfig={"imageUri": IMAGE}),
    _training(entrypoint=["x"] * 100, arguments=["x" * 256], metricDefinitions=[]),
    _training(metricDefinitions=[{"name": "n" * 255, "regex": "r" * 500}] * 40),
]

INVALID = [
    ({"roleArn": ROLE}, "'name'", "must not be null"),
    ({"name": "a"}, "'roleArn'", "must not be null"),
    (definition(""), "'name'", "greater than or equal to 1"),
    (definition("x" * 64), "'name'", "less than or equal to 63"),
    (definition("   "), "'name'", "pattern"),
    (definition("a\nb"), "'name'", "pattern"),
    (definition("a\u0000"), "'name'", "pattern"),
    ({"name": 7, "roleArn": ROLE}, "'name'", "must be a string"),
    (definition(description="x" * 256), "'description'", "255"),
    ({"name": "a", "roleArn": "arn:aws:iam::1:role/x" + "x" * 9}, "'roleArn'", "pattern"),
    ({"name": "a", "roleArn": "short"}, "'roleArn'", "greater than or equal to 20"),
    (definition(kmsKeyArn="arn:aws:kms:us-east-1:123456789012:alias/x"), "'kmsKeyArn'", "pattern"),
    (definition(trainingContainerConfig={}), "'trainingContainerConfig.imageUri'", "must not be null"),
    (definition(trainingContainerConfig=[]), "'trainingContainerConfig'", "must be a structure"),
    (_training(imageUri="x" * 256), "'trainingContainerConfig.imageUri'", "255"),
    (_training(entrypoint=[]), "'trainingContainerConfig.entrypoint'", "greater than or equal to 1"),
    (_training(arguments=["x"] * 101), "'trainingContainerConfig.arguments'", "100"),
    (_training(arguments=["a", ""]), "'trainingContainerConfig.arguments.2.member'", "equal to 1"),
    (_training(arguments=["a\nb"]), "'trainingContainerConfig.arguments.1.member'", "pattern"),
    (_training(arguments="x"), "'trainingContainerConfig.arguments'", "must be a list"),
    (_training(metricDefinitions=[{"name": "n"}]), "metricDefinitions.1.member.regex'", "null"),
    (_training(metricDefinitions=[{"name": "n", "regex": "r"}] * 41), "metricDefinitions'", "40"),
    (definition(tags={"": "v"}), "'tags.key'", "greater than or equal to 1"),
    (definition(tags={"k" * 129: "v"}), "'tags.key'", "128"),
    (definition(tags={"k": "v" * 257}), "'tags.k.member'", "256"),
    (definition(tags={"k": 1}), "'tags.k.member'", "must be a string"),
    (definition(tags=["k"]), "'tags'", "must be a map"),
    ([], "''", "must be a structure"),
]


@pytest.mark.parametrize("parameters", VALID)
def test_valid_request_has_no_problem(parameters: dict[str, Any]) -> None:
    """What the model allows, up to its limits, passes."""
    assert _problems(parameters) == []


@pytest.mark.parametrize(("parameters", "path", "words"), INVALID)
def test_invalid_request_names_path_and_constraint(parameters: object, path: str, words: str) -> None:
    """Each violation names the path of the member and the constraint."""
    problem = "\n".join(_problems(parameters))

    assert path in problem
    assert words in problem


def test_all_problems_are_told() -> None:
    """One response lists all violations of a request."""
    assert len(_problems({"name": "", "description": 5, "tags": {"k": 1}})) >= 4


def test_unknown_members_and_nulls_are_dropped() -> None:
    """Members that the model does not know, and nulls, are ignored, at every depth."""
    parameters = {**_training(colour="red"), "size": 3, "description": None}

    assert input_check(CREATE)(parameters, "", []) == _training()


@pytest.mark.parametrize(
    ("limit", "valid"), [(0, False), (1, True), (100, True), (101, False), ("x", False), (True, False)]
)
def test_integers_have_bounds(limit: object, *, valid: bool) -> None:
    """The page size is an integer from 1 to 100."""
    assert (not _problems({"maxResults": limit}, "ListConfiguredModelAlgorithms")) == valid


def test_dot_matches_no_line_end() -> None:
    """A dot in the model's patterns matches what it matches in Java."""
    pattern = java_pattern(".+")

    assert pattern.fullmatch("a b\t")
    assert not any(pattern.fullmatch(f"a{end}b") for end in "\n\r\u0085\u2028\u2029")


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(_TEXT, _TEXT, _TEXT, st.dictionaries(_TEXT, _TEXT, max_size=2))
def test_what_the_product_accepts_the_endpoint_accepts(
    name: str, description: str, argument: str, tags: dict[str, str]
) -> None:
    """A definition that passes the product's own validation passes the service model."""
    parameters = definition(name, description=description, tags=tags)
    parameters["trainingContainerConfig"] = {"imageUri": IMAGE, "arguments": [argument]}
    try:
        parse(msgspec.json.encode(parameters), Rules())
    except InvalidDefinitionError:
        return

    check_tags(tags)
    assert _problems(parameters) == []
