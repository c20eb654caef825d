"""One line of a manifest becomes a definition, or the list of everything that is wrong with it.

A valid line takes the fast path: msgspec decodes it and checks types, fields and lengths, and the checks below cover
what msgspec does not. A line that fails is read again, slowly, by the scanner and the diagnosis, which report all its
problems, each with a column. The tests hold the two paths to the same answer.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import UNSET, Struct

from provisioner.config.merge import merge
from provisioner.manifest import diagnosis
from provisioner.manifest.definition import MAX_TAGS, TARGETS, ContainerConfig, Definition, Patterns, cached_by_tags
from provisioner.manifest.json_scanner import MAX_PROBLEMS, JsonNode, scan_json
from provisioner.manifest.problems import InvalidDefinitionError, LineProblem
from provisioner.manifest.templates import TemplateError, fill_nodes, filled
from provisioner.manifest.text_rules import (
    DESCRIPTION,
    IMAGE,
    KMS_KEY,
    NAME,
    ONE_LINE,
    RESERVED_TAG_PREFIX,
    ROLE,
    TAG,
    TextRule,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Rules(Struct, frozen=True):
    """How the configuration changes the reading of a manifest.

    Args:
        defaults: laid under every definition before it is validated, by the API's names: maps merge; lists and texts of
            the definition replace the default.
        ownership_tag: the key of the tag that a run adds to every create, which leaves 49 to the user; "" for none.
        variables: what templates in the lines stand for, by name; None where braces are braces. The defaults are
            filled already.
    """

    defaults: dict[str, Any] = {}
    ownership_tag: str = ""
    variables: dict[str, str] | None = None


_QUOTED_TARGETS = f'"{TARGETS}"'.encode()


class Line(NamedTuple):
    """What a line says.

    Attributes:
        definition: with the defaults, templates filled.
        targets: patterns of the targets that it is for; none are all.
    """

    definition: Definition
    targets: tuple[str, ...] = ()


_decode = msgspec.json.Decoder(Definition).decode
_decode_any = msgspec.json.Decoder().decode
_ESCAPED = re.compile(rb"\\.")


def parse(line: bytes, rules: Rules) -> Definition:
    """The definition in one line of a manifest, whatever targets it is for.

    Raises:
        InvalidDefinitionError: the line is not valid; has every problem.
    """
    return parse_line(line, rules).definition


def parse_line(line: bytes, rules: Rules) -> Line:
    """The definition in one line of a manifest, and its targets.

    Raises:
        InvalidDefinitionError: the line is not valid; has every problem.
    """
    return _parse_valid(line, rules) or _diagnose(line, rules)


def _parse_valid(line: bytes, rules: Rules) -> Line | None:
    """The fast path: what a valid line says, None for a line that is not valid."""
    try:
        parsed, strings = _decode_with(line, rules)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TemplateError):
        return None
    definition = parsed.definition
    valid = (
        _texts_fit(definition) and _tags_fit(definition.tags, rules.ownership_tag) and _keys_are_unique(line, strings)
    )
    return parsed if valid else None


def _decode_with(line: bytes, rules: Rules) -> tuple[Line, int]:
    """What a line says with the defaults, and how many strings it has itself: see :func:`_keys_are_unique`."""
    defaults, variables = rules.defaults, rules.variables
    if not defaults and variables is None and _QUOTED_TARGETS not in line:
        try:
            definition = _decode(line)
        except msgspec.ValidationError:
            if b"\\u" not in line:  # the key may be written with escapes
                raise
        else:
            return Line(definition), _strings(definition)
    value = _decode_any(line)
    if not isinstance(value, dict):
        raise msgspec.ValidationError
    targets = msgspec.convert(value.pop(TARGETS), Patterns) if TARGETS in value else ()
    if variables is not None:
        value = filled(value, variables)
    definition = msgspec.convert(merge(defaults, value), Definition)
    strings = _strings(definition) - _strings_added(value, defaults) + (1 + len(targets) if targets else 0)
    return Line(definition, targets), strings


def _strings(definition: Definition) -> int:
    """How many strings the definition's JSON has, keys included; a field that is present but empty is not counted."""
    strings = 4 + 2 * len(definition.tags) + (definition.tags != {})
    if definition.description:
        strings += 2
    if definition.kms_key_arn:
        strings += 2
    if definition.inference_container_config is not UNSET:
        strings += 3
    training = definition.training_container_config
    if training is not UNSET:
        entrypoint, arguments, metrics = training.entrypoint, training.arguments, training.metric_definitions
        strings += 3 + len(entrypoint) + len(arguments) + 4 * len(metrics)
        strings += (entrypoint != ()) + (arguments != ()) + (metrics != ())
    return strings


def _strings_added(value: Mapping[str, Any], defaults: Mapping[str, Any]) -> int:
    """How many strings ``merge(defaults, value)`` has beside those of ``value``."""
    added = 0
    for key, below in defaults.items():
        if key not in value:
            added += 1 + _strings_in(below)
        elif isinstance(below, dict) and isinstance(value[key], dict):
            added += _strings_added(value[key], below)
    return added


def _strings_in(value: object) -> int:
    """How many strings a JSON value has, keys included."""
    if isinstance(value, dict):
        return len(value) + sum(map(_strings_in, value.values()))
    return sum(map(_strings_in, value)) if isinstance(value, list) else int(isinstance(value, str))


def _keys_are_unique(line: bytes, strings: int) -> bool:
    """Whether no key is repeated in a line that was decoded to ``strings`` strings.

    Of two equal keys the decoder keeps the last, so that the text has more strings than the value. Each string has two
    quotes; all others are escaped. The quick count is wrong for a line with escaped quotes or with fields that are
    present but empty; then the strings of the line are counted exactly.
    """
    if line.count(b'"') == 2 * strings:
        return True
    return _ESCAPED.sub(b"", line).count(b'"') == 2 * _strings_in(_decode_any(line))


def _texts_fit(definition: Definition) -> bool:
    """Whether each text keeps its rule; lengths have been checked, tags are checked separately.

    No rule forbids a character that is printable by ``str.isprintable``, which is faster than a pattern.
    """
    name, description, kms_key = definition.name, definition.description, definition.kms_key_arn
    training, inference = definition.training_container_config, definition.inference_container_config
    if not ((name.isprintable() and not name.isspace()) or NAME.fits(name)):
        return False
    if not (description.isprintable() or DESCRIPTION.fits(description)):
        return False
    if not _reference_fits(ROLE, definition.role_arn):
        return False
    if kms_key and not _reference_fits(KMS_KEY, kms_key):
        return False
    if training is not UNSET and not (_reference_fits(IMAGE, training.image_uri) and _container_fits(training)):
        return False
    return inference is UNSET or _reference_fits(IMAGE, inference.image_uri)


@lru_cache(maxsize=1024)
def _reference_fits(rule: TextRule, text: str) -> bool:
    """Cached: roles, keys and images are expensive to check, and a manifest repeats a few of them many times."""
    return rule.fits(text) is not None


def _container_fits(training: ContainerConfig) -> bool:
    texts = [*training.entrypoint, *training.arguments]
    for metric in training.metric_definitions:
        texts += (metric.name, metric.regex)
    return "".join(texts).isprintable() or all(map(ONE_LINE.fits, texts))


_tag_fits = cached_by_tags(TAG.fits)


def _tags_fit(tags: dict[str, str], ownership_tag: str) -> bool:
    keys = "".join(tags)
    if not _tag_fits(keys + "".join(tags.values())):
        return False
    if ":" in keys and any(key[:4].lower() == RESERVED_TAG_PREFIX for key in tags):
        return False
    return not ownership_tag or (ownership_tag not in tags and len(tags) < MAX_TAGS)


@cache
def _definition_type() -> msgspec.inspect.Type:
    return msgspec.inspect.type_info(Definition)


@cache
def _patterns_type() -> msgspec.inspect.Type:
    return msgspec.inspect.type_info(Patterns)


def _diagnose(line: bytes, rules: Rules) -> Line:
    """The slow path: what a line says, or every problem of it.

    Raises:
        InvalidDefinitionError: the line is not valid.
    """
    scanned = scan_json(line)
    root, problems = scanned.root, scanned.problems
    name = root.members.get("name")
    targets = root.members.pop(TARGETS, None)
    if scanned.complete:
        more = _problems_of(root, rules)
        if targets is not None:
            more = chain(more, diagnosis.problems(targets, _patterns_type(), diagnosis.Location(TARGETS)))
        problems = sorted([*problems, *islice(more, MAX_PROBLEMS + 1)], key=lambda one: one.column)
    if problems:
        raise InvalidDefinitionError(_capped(problems), name.text if name else "")
    patterns = tuple(item.text for item in targets.items) if targets is not None else ()
    return Line(msgspec.convert(diagnosis.value_of(root), Definition), patterns)


def _problems_of(root: JsonNode, rules: Rules) -> Iterator[LineProblem]:
    """What is wrong with a line that is JSON; a template without a value is reported, not what follows from it."""
    if rules.variables is not None:
        found = [
            LineProblem(column, path, "template", what) for path, column, what in fill_nodes(root, rules.variables)
        ]
        if found:
            yield from found
            return
    if root.kind == "object":
        diagnosis.merge_defaults(root, rules.defaults)
    yield from diagnosis.problems(root, _definition_type(), diagnosis.Location(column=root.column))
    yield from _tag_problems(root, rules.ownership_tag)


def problems_of_defaults(rules: Rules) -> list[LineProblem]:
    """What is wrong with the defaults themselves, whatever the lines add to them; columns mean nothing here."""
    root = diagnosis.node_of(rules.defaults, column=1)
    found = chain(
        diagnosis.problems(root, _definition_type(), diagnosis.Location()), _tag_problems(root, rules.ownership_tag)
    )
    # A line adds what a container lacks. The parts of a list it can only replace.
    return [problem for problem in found if problem.code != "missing" or "[" in problem.path]


def _capped(problems: list[LineProblem]) -> tuple[LineProblem, ...]:
    """The first hundred problems, and one that says that there are more."""
    if len(problems) <= MAX_PROBLEMS:
        return tuple(problems)
    message = f"this line has more than {MAX_PROBLEMS} problems; fix those above first, the rest are not listed"
    return (*problems[:MAX_PROBLEMS], LineProblem(problems[-1].column, "", "more_problems", message))


def _tag_problems(root: JsonNode, ownership_tag: str) -> Iterator[LineProblem]:
    """What is wrong with the tags that no type can express."""
    tags = root.members.get("tags")
    if tags is None or tags.kind != "object":
        return
    location = diagnosis.Location("tags", tags.column or root.column)
    for key, value in tags.members.items():
        column = value.key_column if value.column else 0
        if key[:4].lower() == RESERVED_TAG_PREFIX:
            message = "keys that begin with aws:, in upper or lower case, are reserved for AWS; rename the key"
            yield location.member(key, value).problem("reserved_tag", message, column)
        elif ownership_tag and key == ownership_tag:
            message = "this key is the ownership tag, which provisioner writes itself; rename the key"
            yield location.member(key, value).problem("reserved_tag", message, column)
    if ownership_tag and len(tags.members) == MAX_TAGS:
        message = f"{MAX_TAGS} tags, but the ownership tag needs one of the {MAX_TAGS}; remove one"
        yield location.problem("too_many", message, tags.column)
