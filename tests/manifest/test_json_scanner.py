"""The JSON scanner accepts the same language as a strict decoder, and reports the right columns."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from provisioner.manifest.diagnosis import merge_defaults, node_of, value_of
from provisioner.manifest.json_scanner import MAX_DEPTH, MAX_PROBLEMS, member_path, scan_json
from provisioner.manifest.problems import LineProblem
from tests.definition_lines import mutants

_WORDS = '"a" "b": \\n \\u0041 \\ud83d\\ude00 \\ud83d 0 -1.5e+3 01 1. true null nul NaN é \x00 \ufeff \'x\' \\/'
_PIECES = st.sampled_from([*_WORDS.split(" "), *'{}[],:"\\/ \t\n\r\x0b'])


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.lists(_PIECES, max_size=9).map(lambda pieces: "".join(pieces).encode()), st.binary(max_size=12), mutants
    )
)
def test_the_language_is_that_of_a_strict_decoder(line: bytes) -> None:
    """The scanner finds a problem exactly where msgspec refuses to decode, apart from repeated keys and depth."""
    try:
        msgspec.json.decode(line)
        decodes = True
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        assume("Number out of range" not in str(error))  # which is JSON so far; the rest has not been read
        decodes = False
    codes = {problem.code for problem in scan_json(line).problems}

    assert bool(codes - {"repeated_key"}) is not decodes or "too_deep" in codes


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"a":1 "b":2}', (8, "", "expected ',' or '}', found '\"'")),
        (b'{"a" 1}', (6, "a", "expected ':', found '1'")),
        (b'{"a":}', (6, "a", "expected a value, found '}'")),
        (b'["x",]', (5, "", "trailing comma at the end of the list; remove it")),
        (b'{"a":[True]}', (7, "a[0]", "True is not a JSON value; put text in double quotes")),
        (b'{"\xc3\xa9\xf0\x9f\x98\x80": "\\q"}', (9, '["é😀"]', "not a JSON escape; write a backslash as \\\\")),
        (b"[01]", (2, "[0]", "01 is not a JSON value; put text in double quotes")),
        (b"{a:1}", (2, "", "expected a key in double quotes, found 'a'")),
    ],
)
def test_problems_stand_where_the_text_goes_wrong(line: bytes, problem: tuple[int, str, str]) -> None:
    """A problem has the column of its character, counted in characters, and says what was expected."""
    column, path, message = problem

    assert scan_json(line).problems == [LineProblem(column, path, "invalid_json", message)]


def test_the_scan_goes_on_after_a_fault() -> None:
    """Faults that leave the rest readable do not hide each other, and the values are kept."""
    found = scan_json(b'{"a":NaN,"b":"x\x01y","a":"z\\ud800",}')

    assert [(problem.column, problem.code) for problem in found.problems] == [
        (6, "invalid_json"),
        (16, "control_character"),
        (20, "repeated_key"),
        (26, "lone_surrogate"),
        (33, "invalid_json"),
    ]
    assert found.complete
    assert found.root.members["b"].text == "x\x01y"


def test_a_wrong_byte_is_one_problem() -> None:
    """After a byte that is not UTF-8, what is not JSON is not reported again."""
    assert [problem.code for problem in scan_json("{}".encode("utf-16")).problems] == ["not_utf8"]


def test_two_first_halves_before_a_second() -> None:
    """Of two high surrogates in a row the first is alone, and the second finds its other half."""
    found = scan_json(b'["\\ud83d\\ud83d\\ude00"]')

    assert [(problem.code, problem.column) for problem in found.problems] == [("lone_surrogate", 3)]
    assert found.root.items[0].text == "\ud83d😀"


def test_a_key_that_is_wrong_is_told_once() -> None:
    """A key with a problem of its own is not reported as an unknown field too."""
    found = scan_json(b'{"na\x01me":"x","b":"y"}')

    assert [problem.code for problem in found.problems] == ["control_character"]
    assert list(found.root.members) == ["b"]


def test_problems_are_bounded() -> None:
    """The scan stops after a hundred problems and one."""
    found = scan_json(b'"' + b"\x01" * 100_000)

    assert len(found.problems) == MAX_PROBLEMS + 1
    assert not found.complete


def test_nesting_is_bounded() -> None:
    """Sixteen objects and lists within each other are read, one more stops the scan."""
    assert not scan_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH).problems
    (problem,) = scan_json(b"[" * (MAX_DEPTH + 1)).problems

    assert (problem.code, problem.column) == ("too_deep", MAX_DEPTH + 1)
    assert not scan_json(b"[" * 100_000).complete


def test_a_stop_keeps_what_was_read() -> None:
    """Members before the point where the scan stops are kept, so that a problem can name the definition."""
    found = scan_json(b'{"name":"x","tags":{"a"')

    assert found.root.members["name"].text == "x"
    assert not found.complete


@pytest.mark.parametrize(
    ("path", "key", "whole"),
    [
        ("", "name", "name"),
        ("tags", "team", "tags.team"),
        ("tags", "aws:x", 'tags["aws:x"]'),
        ("tags", 'a"b', 'tags["a\\"b"]'),
        ("", "", '[""]'),
        ("", "x" * 200, f'["{"x" * 128}…"]'),
        ("tags", "\x1b[31m", 'tags["\\x1b[31m"]'),
    ],
)
def test_paths(path: str, key: str, whole: str) -> None:
    """A path reads as one would write it, quotes what is no identifier, and is short and printable."""
    assert member_path(path, key) == whole


def test_nodes_of_values() -> None:
    """A value becomes nodes without columns, and nodes become the value again."""
    value = {"a": ["x", {"b": "y"}], "c": None}
    node = node_of(value)

    assert value_of(node) == value
    assert {node.column, node.members["a"].column, node.members["a"].items[0].column} == {0}


def test_overlay_is_merge() -> None:
    """Defaults are laid under a node as merge lays them under a value."""
    node = scan_json(b'{"a":{"x":"1"},"b":["1"],"c":"text"}').root
    merge_defaults(node, {"a": {"x": "0", "y": "0"}, "b": ["0", "0"], "c": {"z": "0"}, "d": {"e": "0"}})

    assert value_of(node) == {"a": {"x": "1", "y": "0"}, "b": ["1"], "c": "text", "d": {"e": "0"}}
