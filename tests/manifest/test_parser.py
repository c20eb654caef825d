"""Parsing: what is accepted, what is reported about the rest, and that the fast path agrees with the slow one."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from provisioner.config.merge import merge
from provisioner.errors import Reason
from provisioner.manifest import parser, text_rules
from provisioner.manifest.definition import MAX_TAGS, ContainerConfig
from provisioner.manifest.parser import Line, Rules, parse, parse_line, problems_of_defaults
from provisioner.manifest.problems import InvalidDefinitionError, LineProblem
from tests.definition_lines import (
    FULL,
    IMAGE,
    KEY,
    LEAST,
    REFUSED,
    ROLE,
    VALID,
    changed,
    line_of,
    mutants,
    mutate,
    spell,
    spellings,
)

PLAIN = Rules()
OWNED = Rules(ownership_tag="provisioner:origin")
DEFAULTS = Rules(
    defaults={
        "roleArn": ROLE,
        "tags": {"team": "ads", "stage": "prod"},
        "trainingContainerConfig": {"imageUri": IMAGE, "arguments": ["--lr", "1"]},
    },
    ownership_tag="provisioner:origin",
)

TEMPLATES = Rules(defaults=DEFAULTS.defaults, variables={"team": "ads", "account_id": "111122223333", "target": "t"})


def problems_of(line: bytes, rules: Rules = PLAIN) -> tuple[LineProblem, ...]:
    """The problems of a line that must be refused."""
    with pytest.raises(InvalidDefinitionError) as caught:
        parse(line, rules)
    return caught.value.problems


def codes_of(value: object, rules: Rules = PLAIN) -> list[tuple[str, str]]:
    """Path and code of each problem of a value."""
    return [(problem.path, problem.code) for problem in problems_of(line_of(value), rules)]


def test_every_parameter_is_read() -> None:
    """A definition that has everything is read whole, by snake_case names."""
    read = parse(line_of(FULL), OWNED)

    assert read.name == FULL["name"]
    assert read.role_arn == ROLE
    assert read.kms_key_arn == KEY
    assert read.description == "two\nlines"
    assert isinstance(read.training_container_config, ContainerConfig)
    assert read.training_container_config.arguments == ("--epochs", "10")
    assert read.training_container_config.metric_definitions[0].regex == 'loss: "([0-9\\.]+)"'
    assert read.tags == FULL["tags"]
    assert msgspec.json.decode(read.canonical().request({})) == FULL


def test_the_least_definition() -> None:
    """Name and role are all that a definition needs; the rest is left out of the request."""
    assert json.loads(parse(line_of(LEAST), PLAIN).canonical().request({})) == LEAST


@pytest.mark.parametrize(("path", "value"), VALID)
def test_accepted(path: str, value: object) -> None:
    """What the service takes is taken, however odd: what looks like a path, flag, formula or escape is only data."""
    assert json.loads(parse(line_of(changed(path, value)), PLAIN).canonical().request({}))["name"]


@pytest.mark.parametrize(("path", "value", "code"), REFUSED)
def test_refused(path: str, value: object, code: str) -> None:
    """Each limit that is broken is one problem, with the path and the code that belong to it."""
    shown = re.sub(r"\.(\d+)", r"[\1]", path)

    assert codes_of(changed(path, value)) == [(shown, code)]


REFUSED_TAGS = [
    ("", 'tags[""]', "too_short"),
    ("x" * 129, f'tags["{"x" * 128}…"]', "too_long"),
    ("a!", 'tags["a!"]', "pattern"),
    ("\x00", 'tags["\\x00"]', "control_character"),
    ("aws:x", 'tags["aws:x"]', "reserved_tag"),
    ("AwS:", 'tags["AwS:"]', "reserved_tag"),
    ("provisioner:origin", 'tags["provisioner:origin"]', "reserved_tag"),
]


@pytest.mark.parametrize(("key", "path", "code"), REFUSED_TAGS)
def test_refused_tag_keys(key: str, path: str, code: str) -> None:
    """A tag key that the service, or the ownership tag, forbids is one problem."""
    assert codes_of(changed("tags", {key: "v"}), OWNED) == [(path, code)]


def test_the_ownership_tag_takes_one_of_the_fifty() -> None:
    """With an ownership tag, 49 tags are the most that a definition may have."""
    tags = {f"k{number}": "" for number in range(MAX_TAGS - 1)}

    assert len(parse(line_of(LEAST | {"tags": tags}), OWNED).tags) == 49
    assert codes_of(LEAST | {"tags": tags | {"one": "more"}}, OWNED) == [("tags", "too_many")]


TEXTS = [
    (b"", "invalid_json", 1),
    (b"{", "invalid_json", 2),
    (b"nonsense", "invalid_json", 1),
    (b"[]", "wrong_type", 1),
    (b'"x"', "wrong_type", 1),
    (b'\xef\xbb\xbf{"name":"x","roleArn":"%s"}' % ROLE.encode(), "byte_order_mark", 1),
    (b'{"name":"x","roleArn":"%s"}\xef\xbb\xbf' % ROLE.encode(), "byte_order_mark", 63),
    (b'{"name":"x","roleArn":"%s"}{}' % ROLE.encode(), "invalid_json", 63),
    (b'{"name":"x","roleArn":"%s",}' % ROLE.encode(), "invalid_json", 62),
    (b'{"name":"x","roleArn":"%s","tags":{"a":NaN}}' % ROLE.encode(), "invalid_json", 75),
    (b'{"name":"x","roleArn":"%s","tags":{"a":-Infinity}}' % ROLE.encode(), "invalid_json", 75),
    (b'{"name":"\xc3\xa9\xff","roleArn":"%s"}' % ROLE.encode(), "not_utf8", 11),
    (b'{"name":"\xed\xa0\x80","roleArn":"%s"}' % ROLE.encode(), "not_utf8", 10),
    (b'{"name":"a\\ud800","roleArn":"%s"}' % ROLE.encode(), "lone_surrogate", 11),
    (b'{"name":"a\\udc00\\ud800b","roleArn":"%s"}' % ROLE.encode(), "lone_surrogate", 11),
    (b'{"name":"a\x00b","roleArn":"%s"}' % ROLE.encode(), "control_character", 11),
    (b'{"name":"a\tb","roleArn":"%s"}' % ROLE.encode(), "control_character", 11),
    (b'{"name":"a\\x","roleArn":"%s"}' % ROLE.encode(), "invalid_json", 11),
    (b'{"name":"x","name":"x","roleArn":"%s"}' % ROLE.encode(), "repeated_key", 13),
    (b'{"name":"x","n\\u0061me":"x","roleArn":"%s"}' % ROLE.encode(), "repeated_key", 13),
    (b'{"name":"x","roleArn":"%s","tags":{"a":"","a":""}}' % ROLE.encode(), "repeated_key", 78),
    (b'{"name":"x","roleArn":"%s","rolearn":1}' % ROLE.encode(), "unknown_field", 63),
    (b'{"name":"x","roleArn":"%s","x":%s}' % (ROLE.encode(), b"[" * 20 + b"]" * 20), "too_deep", 82),
    (b"{'name': 'x'}", "invalid_json", 2),
    (b'{"name":"x"', "invalid_json", 12),
    (b'{"name":"x', "invalid_json", 9),
]


@pytest.mark.parametrize(("line", "code", "column"), TEXTS)
def test_hostile_text(line: bytes, code: str, column: int) -> None:
    """A problem of a line as text is reported at its character."""
    first = problems_of(line)[0]

    assert (first.code, first.column) == (code, column)


@pytest.mark.parametrize(("line", "code"), [(line, code) for line, code, _ in TEXTS if ROLE.encode() in line])
def test_hostile_text_is_one_problem(line: bytes, code: str) -> None:
    """One hostile thing in an otherwise valid definition is one problem; both halves of a swapped pair are two."""
    swapped = b"\\udc00\\ud800" in line

    assert [problem.code for problem in problems_of(line)] == [code] * (1 + swapped)


def test_every_problem_is_told() -> None:
    """All problems of a line are reported, by column, with the name."""
    line = (
        b'{"name":"n","roleArn":"b","roleArn":"b","Tags":{},"trainingContainerConfig":{"entry_point":["x"],'
        b'"arguments":["",null]},"tags":{"AWS:x":"1","a!":"\\u0000"}}'
    )
    with pytest.raises(InvalidDefinitionError) as caught:
        parse(line, PLAIN)

    assert caught.value.name == "n"
    assert caught.value.reason is Reason.INVALID
    assert [(problem.path, problem.code, problem.column) for problem in caught.value.problems] == [
        ("roleArn", "repeated_key", 27),
        ("roleArn", "pattern", 37),
        ("Tags", "unknown_field", 41),
        ("trainingContainerConfig.imageUri", "missing", 77),
        ("trainingContainerConfig.entry_point", "unknown_field", 78),
        ("trainingContainerConfig.arguments[0]", "too_short", 111),
        ("trainingContainerConfig.arguments[1]", "wrong_type", 114),
        ('tags["AWS:x"]', "reserved_tag", 129),
        ('tags["a!"]', "pattern", 141),
        ('tags["a!"]', "control_character", 146),
    ]


def test_unknown_fields_name_the_nearest() -> None:
    """A field that does not exist names the one that was meant, or all that there are."""
    same, near, far = problems_of(line_of(LEAST | {"kms_key_arn": KEY, "descrption": "", "zzz": 1}))

    assert "did you mean kmsKeyArn?" in same.message
    assert "did you mean description?" in near.message
    assert "known fields: name, roleArn" in far.message


def test_messages_are_safe_to_print() -> None:
    """What came from the line reaches no message unescaped."""
    hostile = "\x1b]0;pwned\x07\u202e"
    for problem in problems_of(line_of({hostile: hostile, "name": hostile, "tags": {hostile: hostile}})):
        assert (problem.path + problem.message).isprintable()


def test_the_problems_of_a_line_are_bounded() -> None:
    """Of a hostile line a hundred problems are reported, and that there are more."""
    fields = ",".join(f'"k{number}":1' for number in range(20_000))
    found = problems_of(f"{{{fields}}}".encode())
    controls = problems_of(b'{"name":"' + b"\x01" * 200_000)

    assert [len(found), len(controls)] == [101, 101]
    assert found[-1].code == controls[-1].code == "more_problems"


def test_the_error_stands_for_the_first_problem() -> None:
    """Printed alone, the error has the first problem, where it is, and how many more there are."""
    with pytest.raises(InvalidDefinitionError) as caught:
        parse(b'{"name":"\x1b"}', PLAIN)

    assert str(caught.value) == (
        "column 1, name \\x1b: roleArn: required field is missing; add it. This line has 1 more problem"
    )


# Defaults.


def test_defaults_merge_under_a_definition() -> None:
    """Maps merge, lists and strings of the definition replace the default, and the rest comes from the defaults."""
    line = line_of({"name": "x", "tags": {"team": "own"}, "trainingContainerConfig": {"arguments": ["-v"]}})
    read = parse(line, DEFAULTS)

    assert read.role_arn == ROLE
    assert read.tags == {"team": "own", "stage": "prod"}
    assert read.training_container_config == ContainerConfig(IMAGE, arguments=("-v",))


def test_merge_leaves_its_arguments_alone() -> None:
    """Merging makes new maps: one definition's tags never become another's."""
    under: dict[str, Any] = {"tags": {"a": "1"}, "list": [1]}
    over: dict[str, Any] = {"tags": {"b": "2"}, "list": [2]}

    assert merge(under, over) == {"tags": {"a": "1", "b": "2"}, "list": [2]}
    assert under == {"tags": {"a": "1"}, "list": [1]}


def test_a_problem_of_the_defaults_says_so() -> None:
    """A wrong value that the line does not have is blamed on the configuration, at the first column."""
    rules = Rules(defaults={"kmsKeyArn": "x", "tags": {"aws:a": "b"}, "stray": 1})
    found = problems_of(line_of(LEAST), rules)

    assert {problem.path for problem in found} == {"kmsKeyArn", 'tags["aws:a"]', "stray"}
    assert {problem.column for problem in found} == {1}
    assert all("comes from the defaults" in problem.message for problem in found)


@pytest.mark.parametrize(
    ("defaults", "found"),
    [
        ({"kmsKeyArm": KEY}, [("kmsKeyArm", "unknown_field", "unknown field; did you mean kmsKeyArn?")]),
        ({"tags": {"AWS:x": "1"}}, [('tags["AWS:x"]', "reserved_tag", "keys that begin with aws:")]),
        ({"tags": {"a\n": "1"}}, [('tags["a\\n"]', "control_character", "U+000A")]),
        ({"tags": {"provisioner:origin": "1"}}, [('tags["provisioner:origin"]', "reserved_tag", "the ownership tag")]),
        ({"roleArn": 5}, [("roleArn", "wrong_type", "must be a string, not a number")]),
        ({"trainingContainerConfig": {"argumens": []}}, [("trainingContainerConfig.argumens", "unknown_field", "")]),
        ({"description": None}, [("description", "wrong_type", "")]),
        (
            {"trainingContainerConfig": {"metricDefinitions": [{"name": "loss"}]}},
            [("trainingContainerConfig.metricDefinitions[0].regex", "missing", "required field is missing")],
        ),
    ],
)
def test_what_is_wrong_with_defaults(defaults: dict[str, Any], found: list[tuple[str, str, str]]) -> None:
    """Defaults are checked on their own, before any line is read: each problem once."""
    problems = problems_of_defaults(Rules(defaults=defaults, ownership_tag="provisioner:origin"))

    assert [(problem.path, problem.code) for problem in problems] == [(path, code) for path, code, _ in found]
    for problem, (_, _, message) in zip(problems, found, strict=True):
        assert message in problem.message
        assert "comes from" not in problem.message


@pytest.mark.parametrize("defaults", [{}, {"tags": {}}, {"trainingContainerConfig": {"arguments": ["x"]}}, FULL])
def test_defaults_may_be_incomplete(defaults: dict[str, Any]) -> None:
    """What defaults leave out is no problem of theirs."""
    assert problems_of_defaults(Rules(defaults=defaults)) == []


def test_tags_of_defaults_count() -> None:
    """Tags from the defaults count towards the fifty, and the problem says how many they are."""
    rules = Rules(defaults={"tags": {f"d{number}": "" for number in range(30)}})
    (problem,) = problems_of(line_of(LEAST | {"tags": {f"k{number}": "" for number in range(30)}}), rules)

    assert (problem.path, problem.code) == ("tags", "too_many")
    assert "60 elements (30 of them from the defaults" in problem.message


def test_a_line_may_be_wrong_where_defaults_are_right() -> None:
    """A value of the wrong type in a line is not hidden by a default of the right one."""
    assert codes_of({"name": "x", "tags": None}, DEFAULTS) == [("tags", "wrong_type")]
    assert codes_of(["x"], DEFAULTS) == [("", "wrong_type")]


# The fast path against the diagnosis.


def slow(line: bytes, rules: Rules) -> Line | None:
    """What the diagnosis alone makes of a line."""
    try:
        return parser._diagnose(line, rules)
    except InvalidDefinitionError:
        return None


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(mutants, st.sampled_from([PLAIN, OWNED, DEFAULTS, TEMPLATES]))
@example(line_of(FULL), PLAIN)
@example(b'{"name":"x","roleArn":"%s","description":""}' % ROLE.encode(), PLAIN)
@example(b'{"name":"\\u0022\\u0022","name":"\\u0022\\u0022","roleArn":"%s"}' % ROLE.encode(), PLAIN)
@example(b'{"name":"\\\\","description":"","roleArn":"%s","tags":{"a":"","a":""}}' % ROLE.encode(), PLAIN)
@example(b'{"name":"x","tags":{"team":"","team":""}}', DEFAULTS)
@example(b'{"name":"x","trainingContainerConfig":{}}', DEFAULTS)
@example(b'{"name":"x","targets":["a","a"],"targets":["b"]}', DEFAULTS)
@example(b'{"name":"x","targets":["a","b"]}', DEFAULTS)
@example(b'{"name":"x","targets":["a","\\u0022"],"roleArn":"%s"}' % ROLE.encode(), PLAIN)
@example(b'{"name":"x","t\\u0061rgets":["a"],"roleArn":"%s"}' % ROLE.encode(), PLAIN)
@example(b'{"name":"x","targets":[""],"roleArn":"%s"}' % ROLE.encode(), PLAIN)
@example(b'{"name":"targets","roleArn":"%s","description":"\\"targets\\""}' % ROLE.encode(), PLAIN)
@example(b'{"name":"{team}","description":"{{}}"}', TEMPLATES)
@example(b'{"name":"{taem}","description":"}"}', TEMPLATES)
@example(b'{"name":"x","roleArn":"%s","x":%s}' % (ROLE.encode(), b"[" * 5000 + b"]" * 5000), DEFAULTS)
def test_the_fast_path_is_the_diagnosis(line: bytes, rules: Rules) -> None:
    """The fast path accepts exactly the lines in which the diagnosis finds no problem, and reads the same."""
    assert parser._parse_valid(line, rules) == slow(line, rules)


@pytest.mark.parametrize("count", [5_000, pytest.param(1_000_000, marks=pytest.mark.torture)])
def test_the_fast_path_is_the_diagnosis_in_bulk(count: int) -> None:
    """As above, over seeded mutants of full and least definitions; about one in four is valid."""
    valid = 0
    for seed in range(count):
        chance = random.Random(seed)  # noqa: S311 - seeded, to be repeated
        rules = chance.choice([PLAIN, OWNED, DEFAULTS, TEMPLATES])
        line = mutate(spell(chance.choice([FULL, LEAST, {"name": "x"}]), chance), chance)
        read = parser._parse_valid(line, rules)
        valid += read is not None
        assert read == slow(line, rules), f"seed {seed}: {line!r}"

    assert count / 10 < valid < count / 2


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(line: bytes) -> None:
    """Whatever the bytes are, the answer is a definition or a list of problems whose columns lie in the line."""
    for problem in problems_of(line):
        assert 1 <= problem.column <= len(line) + 1
        assert problem.message.isprintable()


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(spellings)
def test_every_spelling_of_a_definition_is_one(case: tuple[dict[str, Any], bytes]) -> None:
    """Order of keys, blanks and escapes change neither the definition nor its digests."""
    value, line = case
    straight, other = parse(line_of(value), PLAIN), parse(line, PLAIN)

    assert straight == other
    assert straight.canonical() == other.canonical()


@pytest.mark.parametrize("rule", ["NAME", "DESCRIPTION", "ONE_LINE", "ROLE", "KMS_KEY", "IMAGE", "TAG"])
def test_no_text_makes_a_pattern_backtrack(rule: str) -> None:
    """Each pattern soon refuses a long text of its own characters with a wrong one at the end."""
    fits = getattr(text_rules, rule).fits
    starts = ["", "arn:aws:iam::123456789012:role/", "arn:aws", f"arn:aws:kms:{'a-' * 99}", "a.b/", IMAGE]
    for start in starts:
        for unit in ("a", "a.", "a-", "a/", "a:", "a_", "1", "é", "é ", " ", "\t", "\u2028", "-", "a.-_/"):
            assert not fits(start + unit * 5_000 + "\x00")


# Targets of a line.


@pytest.mark.parametrize("rules", [PLAIN, DEFAULTS, TEMPLATES])
def test_a_line_may_name_its_targets(rules: Rules) -> None:
    """They are beside the definition, and no part of it: the same digest, the same request."""
    bare, targeted = parse_line(line_of(FULL), rules), parse_line(line_of({"targets": ["prod-*", "!x"], **FULL}), rules)

    assert (bare.targets, targeted.targets) == ((), ("prod-*", "!x"))
    assert targeted.definition == bare.definition
    assert b"prod-*" not in targeted.definition.canonical().request({})


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([], "targets: must not be an empty list; leave the field out"),
        ("prod-*", "targets: must be a list, not a string; write a list"),
        ([5], "targets[0]: must be a string, not a number; write a string"),
        ([""], "targets[0]: has 0 characters, at least 1 are required"),
        (["x"] * 101, "targets: has 101 elements, at most 100 are allowed; remove 1"),
    ],
)
def test_what_names_no_targets(targets: object, message: str) -> None:
    """The field is a list of patterns, with the problems and columns of any other field."""
    (problem,) = problems_of(line_of({**LEAST, "targets": targets}))

    assert problem.text == message
    assert problem.column > 40


# Templates.


def test_templates_are_filled_everywhere_but_in_metrics() -> None:
    """Strings are; keys, names of metrics and their regular expressions are not; a doubled brace is one."""
    metric = {"name": "{x}", "regex": "a{2}{target}"}
    value = {
        **LEAST,
        "name": "{team}-{target}",
        "description": "{{not}} {account_id}",
        "roleArn": "arn:aws:iam::{account_id}:role/x",
        "trainingContainerConfig": {"imageUri": IMAGE, "arguments": ["--t={target}"], "metricDefinitions": [metric]},
        "tags": {"team": "{team}"},
    }
    made = json.loads(parse(line_of(value), TEMPLATES).canonical().request({}))

    assert (made["name"], made["description"]) == ("ads-t", "{not} 111122223333")
    assert made["roleArn"] == "arn:aws:iam::111122223333:role/x"
    assert made["trainingContainerConfig"]["arguments"] == ["--t=t"]
    assert made["trainingContainerConfig"]["metricDefinitions"] == [metric]
    assert made["tags"] == {"team": "ads", "stage": "prod"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{taem}", "{taem} is unknown to this target; write {{ for a literal brace. Did you mean team?"),
        (
            "{zzzzzz}",
            "{zzzzzz} is unknown to this target; write {{ for a literal brace. Known names: account_id, target, team",
        ),
        ("{}", "{} is unknown to this target; write {{ for a literal brace. Known names: account_id, target, team"),
        ("{region}", "{region} has no value, because the target's configuration has no `region`; set it there"),
        ("{partition}", "{partition} has no value, because the target's configuration has no `region`; set it there"),
        ("a { b", "a single { is not a template; write {{ for a literal brace"),
        ("a }", "a single } is not a template; write }} for a literal brace"),
        ("{{team}", "a single } is not a template; write }} for a literal brace"),
    ],
)
def test_a_template_without_a_value_is_a_problem(text: str, message: str) -> None:
    """It has the path and the column of its string, the nearest name, and no problem that only follows from it."""
    line = line_of({"name": "x", "tags": {"a": text}})
    (problem,) = problems_of(line, TEMPLATES)

    assert (problem.path, problem.code, problem.message) == ("tags.a", "template", message)
    assert problem.column == line.decode().index(json.dumps(text)) + 1


def test_without_the_switch_braces_are_braces() -> None:
    """Templates are off by default."""
    assert parse(line_of({**LEAST, "description": "{x} }"}), PLAIN).description == "{x} }"
