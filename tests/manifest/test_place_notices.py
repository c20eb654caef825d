"""What a definition names in another account or Region than its target's is a notice."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.core.place import Place
from provisioner.manifest.parser import Rules, parse
from provisioner.manifest.place_notices import PlaceCheck
from provisioner.manifest.reader import Row
from tests.definition_lines import FULL, IMAGE, KEY, LEAST, ROLE, changed, line_of

HERE = Place("aws", "us-east-1", "123456789012")
TRAINING, INFERENCE = "trainingContainerConfig.imageUri", "inferenceContainerConfig.imageUri"
DIGEST = f"@sha256:{'0' * 64}"


def row(value: dict[str, Any], line: int = 3) -> Row:
    """A valid line with this definition."""
    definition = parse(line_of(value), Rules())
    return Row("m.jsonl", line, definition, definition.canonical())


def found(value: dict[str, Any], place: Place = HERE) -> list[tuple[str, str]]:
    """The notices of one line: code, and path of the value."""
    return [(one.code, one.message.partition(": ")[0]) for one in PlaceCheck({"": place}).notices([row(value)])]


@pytest.mark.parametrize(
    ("path", "value", "codes"),
    [
        ("roleArn", ROLE, []),
        ("roleArn", "arn:aws:iam::210987654321:role/a:123456789012", ["other_account"]),
        ("kmsKeyArn", KEY.replace("123456789012", "210987654321"), []),
        ("kmsKeyArn", KEY.replace("us-east-1", "us-east-2"), ["other_region"]),
        (TRAINING, "210987654321.dkr.ecr.us-east-1.amazonaws.com/a:1", ["other_account"]),
        (TRAINING, "123456789012.dkr.ecr.eu-west-1.amazonaws.com/a", ["other_region"]),
        (TRAINING, "210987654321.dkr.ecr-fips.us-east-2.amazonaws.com/a", ["other_account", "other_region"]),
        (INFERENCE, "210987654321.dkr-ecr.us-east-1.on.aws/a", ["other_account"]),
        (INFERENCE, "210987654321.dkr.ecr.cn-north-1.amazonaws.com.cn/a", ["other_account", "other_region"]),
        (INFERENCE, f"{IMAGE.partition(':')[0]}{DIGEST}", ["image_digest"]),
        (INFERENCE, f"public.ecr.aws/a{DIGEST}", ["image_digest"]),
        (INFERENCE, "public.ecr.aws/210987654321.dkr.ecr.eu-west-1.amazonaws.com/a", []),
        (INFERENCE, "registry.example:5000/a", []),
    ],
)
def test_what_lies_elsewhere(path: str, value: str, codes: list[str]) -> None:
    """Roles and ECR registries by account, keys and ECR registries by Region, and digests of images."""
    assert found(changed(path, value)) == [(code, path) for code in codes]


def test_what_the_configuration_does_not_state_is_not_compared() -> None:
    """Without an account or a Region in the configuration there is nothing to compare."""
    elsewhere = changed(TRAINING, "210987654321.dkr.ecr.eu-west-1.amazonaws.com/a")

    assert found(elsewhere, Place("aws", "")) == []
    assert found(elsewhere, Place("aws", "us-east-1")) == [("other_region", TRAINING)]
    assert found(elsewhere, Place("aws", "", "123456789012")) == [("other_account", TRAINING)]
    assert found(LEAST) == []


def test_a_value_is_noticed_once_for_each_target() -> None:
    """The first line that has it, for every target that it is not in."""
    places = {"a": HERE, "b": Place("aws", "eu-west-1", "210987654321"), "c": Place("aws", "us-east-1", "210987654321")}
    check = PlaceCheck(places)

    first = check.notices([row(FULL, 1), row(FULL, 2)])
    later = check.notices([row(FULL, 3), row(changed("roleArn", ROLE + "2"), 4)])

    assert {(one.line, one.severity, one.source, one.name) for one in first} == {(1, "notice", "m.jsonl", FULL["name"])}
    assert (
        sorted((one.target, one.code) for one in first)
        == [("b", "other_account")] * 3 + [("b", "other_region")] * 3 + [("c", "other_account")] * 3
    )
    assert [(one.line, one.target) for one in later] == [(4, "b"), (4, "c")]
