"""The formats of ``export``: nothing in a name or an ARN leaves its quotes."""

from __future__ import annotations

import json

import hcl2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.cli.formats import CloudFormation, Order, Terraform, hcl
from provisioner.core.entry import Entry, Stamp, State

HOSTILE = '"\n}\nresource "null_resource" "x" {\n${file("/etc/passwd")} %{if true} \\" \u2028\x1b'


def entry(name: str, arn: str, target: str = "east") -> Entry:
    """A created entry."""
    return Entry(target, name, State.CREATED, "d", "t", arn, "a1", Stamp(100.0))


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("plain", '"plain"'),
        ('a "b" \\', r'"a \"b\" \\"'),
        ("${x} $${y} %{z} $ %", r'"\u0024{x} $\u0024{y} \u0025{z} $ %"'),
        ("\n\x1b\u2028\U000e0001", r'"\u000a\u001b\u2028\U000e0001"'),
    ],
)
def test_text_in_hcl(text: str, quoted: str) -> None:
    """Quotes, templates and what is not printable are escaped as HCL's specification says."""
    assert hcl(text) == quoted


@settings(max_examples=25)
@given(st.lists(st.text(st.sampled_from('ab"\\$%{}\n\x1b~'), max_size=20) | st.text(max_size=40), max_size=8))
def test_no_text_is_more_than_text_in_hcl(texts: list[str]) -> None:
    """A parser finds each text as one string and nothing else, without any template."""
    quoted = {f"a{number}": hcl(text) for number, text in enumerate(texts)}

    assert hcl2.loads("".join(f"{name} = {text}\n" for name, text in quoted.items())) == quoted


@pytest.mark.parametrize("several", [False, True])
def test_hostile_names_make_no_other_blocks(several: bool) -> None:  # noqa: FBT001
    """A name and an ARN full of syntax give one import block like any other."""
    written: list[str] = []
    result = Terraform(Order(written.append, (), several))
    result.add(entry(HOSTILE, HOSTILE))
    result.add(entry("plain", "arn:aws:cleanrooms-ml:us-east-1:123456789012:configured-model-algorithm/1"))
    result.end()

    found = hcl2.loads("".join(written))
    assert set(found) == {"import", "__comments__"}
    first, second = found["import"]
    inner = first["identity"]["configured_model_algorithm_arn"] if several else first["id"]
    assert inner == hcl(HOSTILE)
    assert set(second) == {"to", "identity" if several else "id", "__is_block__"}


def test_cloudformation_imports_so_many_at_a_time() -> None:
    """More resources than one change set takes are written all the same, with a notice."""
    written: list[str] = []
    result = CloudFormation(Order(written.append, (), several=False))
    for number in range(201):
        result.add(entry(f"a {number}", f"arn:{number}"))
    notice = result.end()

    assert len({resource["LogicalResourceId"] for resource in json.loads("".join(written))}) == 201
    assert notice == "201 resources, and CloudFormation imports at most 200 at a time: select with --name"
