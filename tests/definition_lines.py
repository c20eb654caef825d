"""Lines of manifests for tests: valid ones in every spelling that JSON has, and hostile ones."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import strategies as st

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


def changed(path: str, value: object) -> dict[str, Any]:
    """FULL with the value at a path such as ``trainingContainerConfig.arguments.0`` replaced."""
    copy: dict[str, Any] = json.loads(json.dumps(FULL))
    *parents, last = path.split(".")
    inner: Any = copy
    for parent in parents:
        inner = inner[int(parent) if isinstance(inner, list) else parent]
    inner[int(last) if isinstance(inner, list) else last] = value
    return copy


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
