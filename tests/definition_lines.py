"""Lines of manifests for tests: valid ones in every spelling that JSON has, and hostile ones."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import strategies as st

from provisioner.manifest.definition import MAX_TAGS

ROLE = "arn:aws:iam::123456789012:role/access"
KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1.0"
FULL: dict[str, Any] = {
    "name": "blazingtext 1-cpu",
    "description": "two\nlines",
    "roleArn": ROLE,
    "trainingContainerConfig": {
        "imageUri": IMAGE,
        "entrypoint": ["python3", "/opt/train.py"],
        "arguments": ["--epochs", "10"],
        "metricDefinitions": [{"name": "loss", "regex": 'loss: "([0-9\\.]+)"'}],
    },
    "inferenceContainerConfig": {"imageUri": IMAGE},
    "tags": {"team": "ads", "owner": "équipe-données"},
    "kmsKeyArn": KEY,
}
"""A definition that has everything."""
LEAST = {"name": "x", "roleArn": ROLE}
"""A definition that has only what it must."""


def line_of(value: object) -> bytes:
    """One line of a manifest."""
    return json.dumps(value, ensure_ascii=False).encode()


def lines_of(*values: object) -> bytes:
    """A manifest of these values, one a line."""
    return b"".join(line_of(value) + b"\n" for value in values)


def named(name: str, **more: object) -> dict[str, Any]:
    """A small definition."""
    return {"name": name, "roleArn": ROLE, **more}


def manifest_of(*names: str, **more: object) -> bytes:
    """A manifest with a small definition for each name."""
    return lines_of(*(named(name, **more) for name in names))


def numbered(count: int, **more: object) -> bytes:
    """A manifest of so many definitions: ``algorithm 0`` and so on."""
    return manifest_of(*(f"algorithm {number}" for number in range(count)), **more)


def changed(path: str, value: object) -> dict[str, Any]:
    """FULL with the value at a path such as ``trainingContainerConfig.arguments.0`` replaced."""
    copy: dict[str, Any] = json.loads(json.dumps(FULL))
    *parents, last = path.split(".")
    inner: Any = copy
    for parent in parents:
        inner = inner[int(parent) if isinstance(inner, list) else parent]
    inner[int(last) if isinstance(inner, list) else last] = value
    return copy


VALID = [
    ("name", "\t"[:0] + "a\tb"),
    ("name", "../../etc/passwd"),
    ("name", "--delete-all"),
    ("name", "=HYPERLINK(1)"),
    ("name", "%s %n {0}"),
    ("name", "'; DROP TABLE entries; --"),
    ("name", "\u00a0"),
    ("name", "\u0085\u0085"),
    ("name", "a\u2028"),
    ("name", "😀" * 63),
    ("name", "\x7f\u009b31m"),
    ("description", ""),
    ("description", "\t\r\n\u2028"),
    ("roleArn", "arn:aws-cn:iam::123456789012:role/path/to/role name"),
    ("kmsKeyArn", "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/a"),
    ("trainingContainerConfig.imageUri", "localhost/a"),
    ("trainingContainerConfig.imageUri", "registry:5000/a/b__c--d.e:Tag_1.0"),
    ("trainingContainerConfig.imageUri", f"public.ecr.aws/a@sha256:{'0' * 64}"),
    ("trainingContainerConfig.metricDefinitions", []),
    ("trainingContainerConfig.arguments", ["\t", " ", '"', "\\", "/"]),
    ("tags", {}),
    ("tags", {"Team Æ٣": "aws:x", "AWS": "AWS:", "a+-=._:/@ \u3000": ""}),
    ("tags", {f"k{number}": "" for number in range(MAX_TAGS)}),
]
"""Paths of FULL with unusual values that are valid."""
REFUSED = [
    ("name", "", "too_short"),
    ("name", "   ", "pattern"),
    ("name", " \t", "pattern"),
    ("name", "\u0085", "pattern"),
    ("name", "  \u2028", "pattern"),
    ("name", "x" * 64, "too_long"),
    ("name", "a\nb", "control_character"),
    ("name", "\x00", "control_character"),
    ("name", "\x1b[31m", "control_character"),
    ("name", "a\uffff", "pattern"),
    ("name", "\ufeffa", "byte_order_mark"),
    ("name", None, "wrong_type"),
    ("name", 1, "wrong_type"),
    ("name", ["a"], "wrong_type"),
    ("description", "x" * 256, "too_long"),
    ("description", "\x0b", "control_character"),
    ("description", {"a": "b"}, "wrong_type"),
    ("roleArn", "", "too_short"),
    ("roleArn", "arn:aws:iam::12345678901:role/x", "pattern"),
    ("roleArn", "arn:aws:iam::123456789012:role/", "pattern"),
    ("roleArn", "arn:aws:iam::123456789012:role/a\u2028", "pattern"),
    ("roleArn", ROLE + "x" * 2048, "too_long"),
    ("kmsKeyArn", "alias/key", "pattern"),
    ("kmsKeyArn", True, "wrong_type"),
    ("trainingContainerConfig", "x", "wrong_type"),
    ("trainingContainerConfig.imageUri", "train", "pattern"),
    ("trainingContainerConfig.imageUri", "library/ubuntu:22.04", "pattern"),
    ("trainingContainerConfig.imageUri", "a.b/Upper:1", "pattern"),
    ("trainingContainerConfig.imageUri", f"a.b/c:1@sha256:{'0' * 64}", "pattern"),
    ("trainingContainerConfig.imageUri", f"a.b/c@sha256:{'0' * 63}", "pattern"),
    ("trainingContainerConfig.imageUri", "https://a.b/c", "pattern"),
    ("trainingContainerConfig.imageUri", "a.b/c\n", "control_character"),
    ("trainingContainerConfig.imageUri", f"a.b/{'c' * 252}", "too_long"),
    ("trainingContainerConfig.entrypoint", [], "too_few"),
    ("trainingContainerConfig.entrypoint", ["x"] * 101, "too_many"),
    ("trainingContainerConfig.arguments", [], "too_few"),
    ("trainingContainerConfig.arguments", {"0": "x"}, "wrong_type"),
    ("trainingContainerConfig.arguments.0", "", "too_short"),
    ("trainingContainerConfig.arguments.0", "x" * 257, "too_long"),
    ("trainingContainerConfig.arguments.0", "a\nb", "control_character"),
    ("trainingContainerConfig.arguments.0", "a\u2029b", "pattern"),
    ("trainingContainerConfig.metricDefinitions", [{"name": "a", "regex": "b"}] * 41, "too_many"),
    ("trainingContainerConfig.metricDefinitions.0.name", "x" * 256, "too_long"),
    ("trainingContainerConfig.metricDefinitions.0.regex", "x" * 501, "too_long"),
    ("inferenceContainerConfig.imageUri", "", "too_short"),
    ("tags", {f"k{number}": "" for number in range(MAX_TAGS + 1)}, "too_many"),
    ("tags", ["a"], "wrong_type"),
    ("tags.team", "x" * 257, "too_long"),
    ("tags.team", "a,b", "pattern"),
    ("tags.team", "a\tb", "control_character"),
    ("tags.team", 5, "wrong_type"),
]
"""Paths of FULL with values that are invalid, and the code of the one problem."""

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\ufeff\ufffe\uffff", min_codepoint=32), max_size=12)
_WORD = st.text(
    st.characters(codec="utf-8", exclude_characters="\ufeff\u0085\u2028\u2029", min_codepoint=32),
    min_size=1,
    max_size=8,
)
_TAG_TEXT = st.text(
    st.one_of(st.characters(categories=["L", "Nd"]), st.sampled_from(" +-=._:/@\u00a0")), min_size=1, max_size=6
)
_TAG_KEY = _TAG_TEXT.filter(lambda key: not key.lower().startswith("aws:"))
_IMAGES = st.sampled_from([IMAGE, "localhost/a", "a.b:5000/c/d-e_f", f"a.b/c@sha256:{'0a' * 32}"])
_CONTAINER = st.fixed_dictionaries(
    {"imageUri": _IMAGES},
    optional={
        "entrypoint": st.lists(_WORD, min_size=1, max_size=3),
        "arguments": st.lists(_WORD, min_size=1, max_size=3),
        "metricDefinitions": st.lists(st.fixed_dictionaries({"name": _WORD, "regex": _WORD}), max_size=2),
    },
)
definitions = st.fixed_dictionaries(
    {
        "name": _TEXT.filter(lambda name: name.strip(" \u0085\u2028\u2029") != ""),
        "roleArn": st.sampled_from([ROLE, "arn:aws-us-gov:iam::000000000000:role/a/b"]),
    },
    optional={
        "description": _TEXT,
        "trainingContainerConfig": _CONTAINER,
        "inferenceContainerConfig": st.fixed_dictionaries({"imageUri": _IMAGES}),
        "kmsKeyArn": st.just(KEY),
        "tags": st.dictionaries(_TAG_KEY, _TAG_TEXT | st.just(""), max_size=4),
    },
)
"""Valid definitions, as values."""


def spell(value: object, chance: random.Random) -> str:
    """JSON of a value, with its keys in any order, any blanks, and its characters escaped or not."""
    blank = chance.choice(["", "", "", " ", "\t", "\r "])
    if isinstance(value, dict):
        keys = chance.sample(list(value), len(value))
        members = [f"{_spell_text(key, chance)}{blank}:{blank}{spell(value[key], chance)}" for key in keys]
        return "{" + blank + f"{blank},{blank}".join(members) + "}" + blank
    if isinstance(value, list):
        return "[" + blank + f"{blank},".join(spell(item, chance) for item in value) + "]"
    return _spell_text(str(value), chance)


def _spell_text(text: str, chance: random.Random) -> str:
    style = chance.choice(["raw", "raw", "ascii", "some", "all"])
    if style in ("raw", "ascii"):
        return json.dumps(text, ensure_ascii=style == "ascii")
    pieces = [_unit(c) if style == "all" or chance.random() < 0.5 else json.dumps(c)[1:-1] for c in text]
    return f'"{"".join(pieces)}"'


def _unit(character: str) -> str:
    if character == "/":
        return "\\/"
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02X}{units[at + 1]:02x}" for at in range(0, len(units), 2))


FRAGMENTS = [
    '"',
    "\\",
    "\\u0022",
    "\\u0000",
    "\\n",
    "\\ud800",
    "\\udc00",
    "\\ud83d\\ude00",
    "\ufeff",
    "\u2028",
    "\u0085",
    "\uffff",
    "\x00",
    "\x1b[31m",
    "\x7f",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "NaN",
    "-Infinity",
    "1e999",
    "01",
    "true",
    '"name":"y",',
    f'"roleArn":"{ROLE}",',
    '"tags":{},',
    '"tags":{"a":"b","a":"b"},',
    '"description":"",',
    '"metricDefinitions":[],',
    '"AWS:x":"1",',
    '"\\u0061":"",',
    "[" * 20,
    "é",
    "!",
    " ",
    "😀",
]
"""What a mutation puts into a line."""


def mutate(text: str, chance: random.Random) -> bytes:
    """A line in which some pieces were cut out, doubled, or replaced by something hostile."""
    for _ in range(chance.randrange(4)):
        start = chance.randint(0, len(text))
        end = min(len(text), start + chance.choice([0, 0, 1, 2, 5, 12]))
        text = text[:start] + chance.choice([*FRAGMENTS, "", text[start:end] * 2]) + text[end:]
    line = text.encode(errors="surrogatepass")
    if chance.random() < 0.1:
        at = chance.randint(0, len(line))
        line = line[:at] + chance.choice([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf"]) + line[at:]
    return line


def _chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - seeded, to be repeated


_CHANCES = st.integers(0, 2**32).map(_chance)
spellings = st.builds(lambda value, chance: (value, spell(value, chance).encode()), definitions, _CHANCES)
"""A valid definition, and a line that says it in one of many ways."""
mutants = st.builds(lambda value, chance: mutate(spell(value, chance), chance), definitions, _CHANCES)
"""Lines that are valid or nearly so."""
