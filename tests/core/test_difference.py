"""What differs between two definitions."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.core.difference import Change, differences
from provisioner.manifest.definition import Definition
from tests.definition_lines import FULL, IMAGE, LEAST, definitions

TRAINING = "trainingContainerConfig"
STEP = re.compile(r'\.?([A-Za-z0-9_-]+)|\[(\d+)\]|\[(name=)?(?:([A-Za-z0-9_-]+)|("(?:[^"\\]|\\.)*"))\]')


def canonical(value: dict[str, Any]) -> tuple[bytes, bytes]:
    """The canonical form of a definition."""
    found = msgspec.convert(value, Definition).canonical()
    return found.untagged, found.tags


def steps(path: str) -> list[Any]:
    """A path taken apart: keys, indexes, and names of metrics as ``("name", …)``."""
    found: list[Any] = []
    end = 0
    for match in STEP.finditer(path):
        assert match.start() == end, path
        end = match.end()
        member, index, named, plain, quoted = match.groups()
        key = member or plain or (json.loads(quoted) if quoted else "")
        found.append(int(index) if index else ("name", key) if named else key)
    assert end == len(path), path
    return found


def applied(value: dict[str, Any], changes: list[Change]) -> dict[str, Any]:
    """``value`` with the changes made, found by nothing but their paths."""
    result: dict[str, Any] = json.loads(json.dumps(value))
    for change in changes:
        *parents, last = steps(change.path)
        inner: Any = result
        for parent, child in pairwise([*parents, last]):
            inner = inner.setdefault(parent, {} if isinstance(child, str) else [])
        if isinstance(last, tuple):
            if change.before is not None:
                inner[:] = [one for one in inner if one != {"name": last[1], "regex": change.before}]
            if change.after is not None:
                inner.append({"name": last[1], "regex": change.after})
        elif isinstance(last, int):
            inner[last : last + 1] = [change.after]
        else:
            inner[last] = change.after
    left: dict[str, Any] = _without_none(result)
    return left


def _without_none(value: Any) -> Any:
    """Without what a change took away: None, and containers that are empty then."""
    if isinstance(value, dict):
        inner = {key: _without_none(one) for key, one in value.items()}
        return {key: one for key, one in inner.items() if one not in (None, {}, [])}
    return [_without_none(one) for one in value if one is not None] if isinstance(value, list) else value


def respelled(value: dict[str, Any], order: list[int]) -> dict[str, Any]:
    """The same definition with empty fields, and with its metrics in another order, one of them twice."""
    copy: dict[str, Any] = {"description": "", "tags": {}, **json.loads(json.dumps(value))}
    if metrics := copy.get(TRAINING, {}).get("metricDefinitions"):
        copy[TRAINING]["metricDefinitions"] = [metrics[index % len(metrics)] for index in order] + metrics
    elif TRAINING in copy:
        copy[TRAINING]["metricDefinitions"] = []
    return copy


@settings(derandomize=True, max_examples=150)
@given(definitions, definitions)
def test_there_is_a_difference_exactly_where_the_canonical_forms_differ(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    """No change means the same canonical form, and no other pair of definitions has no change."""
    assert (differences(before, after) == []) == (canonical(before) == canonical(after))


@settings(derandomize=True, max_examples=150)
@given(definitions, st.lists(st.integers(0, 5), max_size=3))
def test_how_a_definition_is_written_is_no_difference(value: dict[str, Any], order: list[int]) -> None:
    """Empty fields, the order of metrics and their repetition change nothing; nor does what the model writes."""
    other = respelled(value, order)

    assert canonical(other) == canonical(value)
    assert differences(value, other) == differences(other, value) == []
    assert differences(value, msgspec.to_builtins(msgspec.convert(value, Definition))) == []


@settings(derandomize=True, max_examples=150)
@given(definitions, definitions)
def test_the_changes_lead_from_one_definition_to_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Whoever makes the changes that the paths name has the definition that is wanted, in both directions."""
    for old, new in ((before, after), (after, before)):
        changes = differences(old, new)

        assert canonical(applied(old, changes)) == canonical(new)
        assert all(change.before != change.after for change in changes)


@settings(derandomize=True, max_examples=150)
@given(definitions, definitions)
def test_a_change_is_one_line_of_printable_text(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Whatever stands in a definition, its change is one printable line whose two sides differ."""
    for change in differences(before, after):
        text = str(change)
        old, _, new = text.partition(": ")[2].partition(" -> ")

        assert text.isprintable()
        assert old != new


METRIC = {"name": "loss", "regex": "a"}


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ({}, {}, []),
        ({"description": ""}, {}, []),
        ({"tags": {"a": ""}}, {}, [("tags.a", "", None)]),
        ({}, {"tags": {"a.b": "c", "b": ""}}, [("tags.b", None, ""), ('tags["a.b"]', None, "c")]),
        (
            {TRAINING: {"arguments": ["a", "b", *"xxxxxxxx", "c"]}},
            {TRAINING: {"arguments": ["a", "B", *"xxxxxxxx", "C", "d"]}},
            [
                (f"{TRAINING}.arguments[1]", "b", "B"),
                (f"{TRAINING}.arguments[10]", "c", "C"),
                (f"{TRAINING}.arguments[11]", None, "d"),
            ],
        ),
        (
            {TRAINING: {"metricDefinitions": [METRIC, {"name": "a b", "regex": "x"}]}},
            {TRAINING: {"metricDefinitions": [{"name": "loss", "regex": "b"}]}},
            [
                (f'{TRAINING}.metricDefinitions[name="a b"]', "x", None),
                (f"{TRAINING}.metricDefinitions[name=loss]", "a", "b"),
            ],
        ),
        (
            {TRAINING: {"metricDefinitions": [METRIC]}},
            {TRAINING: {"metricDefinitions": [METRIC, {"name": "loss", "regex": "b"}]}},
            [(f"{TRAINING}.metricDefinitions[name=loss]", None, "b")],
        ),
        (
            {TRAINING: {"metricDefinitions": [{**METRIC, "unit": "s"}], "gpus": 2, "spot": None}},
            {TRAINING: {"metricDefinitions": [METRIC]}},
            [
                (f"{TRAINING}.gpus", 2, None),
                (f"{TRAINING}.metricDefinitions[name=loss]", {**METRIC, "unit": "s"}, "a"),
            ],
        ),
    ],
)
def test_where_the_changes_are(before: dict[str, Any], after: dict[str, Any], changes: list[Any]) -> None:
    """Fields by their path, lists by element in their order, metrics by name, tags by key, and what is unknown too."""
    assert differences(before, after) == [Change(*change) for change in changes]


def test_a_change_has_the_names_of_the_plan() -> None:
    """In JSON a change has path, from and to."""
    (change,) = differences(LEAST, {**LEAST, "description": "b"})

    assert msgspec.json.decode(msgspec.json.encode(change)) == {"path": "description", "from": None, "to": "b"}


BUCKET = "arn:aws:kms:us-east-1:123456789012:key/"


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (IMAGE, IMAGE.replace(":1.0", ":2.0"), "…:1.0 -> …:2.0"),
        (IMAGE, IMAGE.replace("train:1.0", "train:1.01"), "…:1.0 -> …:1.01"),
        (IMAGE.removesuffix(":1.0"), IMAGE, "…/train -> …/train:1.0"),
        (f"{BUCKET}{'a' * 40}1", f"{BUCKET}{'a' * 40}2", f"…{'a' * 24}1 -> …{'a' * 24}2"),
        ("a.b/c:1", "a.b/c:2", "a.b/c:1 -> a.b/c:2"),
        (IMAGE, None, f"{IMAGE} -> (none)"),
        ("(none)", None, '"(none)" -> (none)'),
        ("", "a", '"" -> a'),
        ("…:1", "…:2", '"…:1" -> "…:2"'),
        ("a -> b", "c", '"a -> b" -> c'),
        ("a\nb", "a\\nb", '"a\\nb" -> "a\\\\nb"'),
        ("a\u202eb", "\x9b31m", '"a\\u202eb" -> "\\x9b31m"'),
        ("x" * 600, "y" * 600, f"{'x' * 500}… -> {'y' * 500}…"),
        (2, {"a": "b"}, '2 -> {"a": "b"}'),
    ],
)
def test_how_a_change_reads(before: Any, after: Any, text: str) -> None:
    """A long common beginning is cut before its last word, and a value that could be mistaken is in quotes."""
    assert str(Change("path", before, after)) == f"path: {text}"


def test_what_changes_between_full_definitions() -> None:
    """The example of the documentation: a new image is one change."""
    after = {**FULL, TRAINING: {**FULL[TRAINING], "imageUri": IMAGE.replace("1.0", "2.0")}}

    assert [str(change) for change in differences(FULL, after)] == [f"{TRAINING}.imageUri: …:1.0 -> …:2.0"]
