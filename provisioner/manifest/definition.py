"""Definitions: the parameters of one CreateConfiguredModelAlgorithm call, their limits, digests and wire form.

The limits come from the service model (botocore ``cleanroomsml/2023-09-06``) and, where that says less, from the
service's documentation: 50 user tags, the characters of tags, the two forms of an image URI. They stand once, in the
types below; the fast path, the diagnosis of a refused line and the JSON Schema all read them there.

A valid line is decoded by msgspec, which checks types, fields and lengths, and then looked over for what msgspec does
not check. A line that fails either is diagnosed from its text, so that all its faults are told, each with a column.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from hashlib import sha256
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from provisioner.config.defaults import merge
from provisioner.errors import ProvisionerError, Reason, printable
from provisioner.manifest import diagnosis, jsontext
from provisioner.manifest.diagnosis import TextRule
from provisioner.manifest.jsontext import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "MAX_TAGS",
    "Canonical",
    "ContainerConfig",
    "Definition",
    "Fault",
    "InferenceContainerConfig",
    "InvalidDefinitionError",
    "MetricDefinition",
    "Rules",
    "json_schema",
    "merge",
    "parse",
]

_Tags = TypeVar("_Tags", str, bytes)
_Told = TypeVar("_Told")

MAX_TAGS = 50
"""User tags on a resource: the documentation's limit; the service model says 200."""
REMEMBERED = 2048
"""Length up to which it is remembered of tags whether they fit, and their digest; the longest have 77 KiB, and those of
1,024 definitions are remembered."""

# Characters. A tab is the one control character that the service takes everywhere; a byte-order mark inside a value is
# invisible and never meant, so it is refused everywhere.
_C0 = r"\u0000-\u0008\u000a-\u001f"
_MARK = r"\ufeff"
_NOT_IN_NAMES = rf"[{_C0}{_MARK}\ufffe\uffff]"
_NOT_IN_PROSE = r"[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufeff\ufffe\uffff]"
_NOT_IN_LINES = rf"[{_C0}\u0085\u2028\u2029{_MARK}]"
"""The model's ``.`` means what it means to the service's Java: all but the line terminators."""
_LINE = f"[^{_NOT_IN_LINES[1:]}"

_NAME = TextRule(
    # In Java, \s is ASCII and $ also matches before one final line terminator; the surrogates of the model's class
    # stand for all characters beyond U+FFFF.
    rf"(?![ \t]*[\u0085\u2028\u2029]?$)[^{_NOT_IN_NAMES[1:]}*",
    "must not be blank",
    _NOT_IN_NAMES,
)
_DESCRIPTION = TextRule(f"[^{_NOT_IN_PROSE[1:]}*", "may hold any text", _NOT_IN_PROSE)
_ONE_LINE = TextRule(f"{_LINE}*", "must be one line of text", _NOT_IN_LINES)
_ROLE = TextRule(
    rf"arn:aws[-a-z]*:iam::[0-9]{{12}}:role/{_LINE}+",
    "must be the ARN of an IAM role, such as arn:aws:iam::123456789012:role/access",
    _NOT_IN_LINES,
)
_KMS_KEY = TextRule(
    rf"arn:aws[-a-z]*:kms:[-a-z0-9]+:[0-9]{{12}}:key/{_LINE}+",
    "must be the ARN of a KMS key, such as arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    _NOT_IN_LINES,
)
_IMAGE = TextRule(
    r"(?=[^/]*[.:]|localhost/)[A-Za-z0-9]+(?:[.-]+[A-Za-z0-9]+)*(?::[0-9]{1,5})?"  # a registry, told from a path
    r"(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+"
    r"(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|@sha256:[0-9a-f]{64})?",
    "must be registry/repository, registry/repository:tag or registry/repository@sha256:digest (64 hexadecimal digits),"
    " such as 123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1.0",
    _NOT_IN_LINES,
)
_TAG_SAYS = "must consist of letters, digits, spaces and + - = . _ : / @"
_SPACES = r" \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
"""Unicode's space separators (Zs)."""
_TAG = TextRule(
    # Quicker by a third than one class, and, being possessive, without any backtracking.
    rf"[a-zA-Z0-9 +\-=.:/@_]*+(?:[\w{_SPACES}][a-zA-Z0-9 +\-=.:/@_]*+)*+",
    _TAG_SAYS,
    rf"[^\w{_SPACES}+\-=.:/@]",
)
_TAG_SCHEMA = r"[^\u0000-\u001f!\"#$%&'()*,;<>?\[\\\]^`{|}~\u007f\ufeff]*"
"""For JSON Schema, whose dialects do not agree on what a letter is: refuses what is wrong in ASCII."""
_RESERVED = "aws:"
"""The prefix of tag keys, in any case, that AWS keeps to itself; values may have it."""


def _text(rule: TextRule, most: int, least: int, description: str, schema: str = "") -> Meta:
    """The limits of a string; the pattern is for the schema and the diagnosis, msgspec checks the lengths."""
    return Meta(
        min_length=least or None,
        max_length=most,
        description=description,
        extra={"text": rule},
        extra_json_schema={"pattern": f"^(?:{schema or rule.pattern})$"},
    )


_Image = Annotated[
    str, _text(_IMAGE, 255, 1, "The container image: registry/repository[:tag] or registry/repository@sha256:digest.")
]
_Entrypoint = Annotated[str, _text(_ONE_LINE, 256, 1, "One word of the command.")]
_Argument = Annotated[str, _text(_ONE_LINE, 256, 1, "One argument.")]


class _Wire(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel", gc=False):
    """Written in camelCase; what equals its default is left out, so that absent and empty are the same."""


class MetricDefinition(_Wire, frozen=True):
    """How a metric is read from the container's log."""

    name: Annotated[str, _text(_ONE_LINE, 255, 1, "The metric's name.")]
    regex: Annotated[str, _text(_ONE_LINE, 500, 1, "Finds the metric's value in a line of the log.")]


class ContainerConfig(_Wire, frozen=True):
    """The container that trains."""

    image_uri: _Image
    entrypoint: Annotated[
        tuple[_Entrypoint, ...],
        Meta(min_length=1, max_length=100, description="The command; takes precedence over the image's own."),
    ] = ()
    arguments: Annotated[
        tuple[_Argument, ...], Meta(min_length=1, max_length=100, description="The arguments of the command.")
    ] = ()
    metric_definitions: Annotated[
        tuple[MetricDefinition, ...], Meta(max_length=40, description="The metrics to publish.")
    ] = ()


class InferenceContainerConfig(_Wire, frozen=True):
    """The container that infers."""

    image_uri: _Image


class Canonical(Struct, frozen=True, gc=False):
    r"""A definition as bytes that are equal for equal content, whatever the order of keys, in every version.

    JSON in UTF-8 without blanks: fields in the order of :class:`Definition`, tags in the order of their code points, a
    field that equals its default left out, only ``"``, ``\\`` and control characters escaped.

    Args:
        untagged: the definition without ``tags``.
        tags: the value of ``tags`` alone, which can be changed after the create.
        digest: of ``untagged``: the first half of its SHA-256, 32 hexadecimal digits.
        tags_digest: of ``tags``, likewise.
    """

    untagged: bytes
    tags: bytes
    digest: str
    tags_digest: str

    def request(self, tags: Mapping[str, str]) -> bytes:
        """The JSON body of the create, with ``tags`` added to the definition's own; ready to be sent."""
        both = self.tags
        for key, value in tags.items():
            both = _with_tag(both, key, value)
        return b'%b,"tags":%b}' % (self.untagged[:-1], both) if both != b"{}" else self.untagged


class Definition(_Wire, frozen=True):
    """The parameters of one create; attribute names are those of the wire in snake_case."""

    name: Annotated[str, _text(_NAME, 63, 1, "The name of the configured model algorithm.")]
    role_arn: Annotated[str, _text(_ROLE, 2048, 20, "The role that reads the image: the ARN of an IAM role.")]
    description: Annotated[str, _text(_DESCRIPTION, 255, 0, "A description; line breaks are allowed.")] = ""
    training_container_config: ContainerConfig | UnsetType = UNSET
    inference_container_config: InferenceContainerConfig | UnsetType = UNSET
    kms_key_arn: Annotated[str, _text(_KMS_KEY, 2048, 20, "The key that encrypts: the ARN of a KMS key.")] = ""
    tags: Annotated[
        dict[
            Annotated[
                str,
                _text(_TAG, 128, 1, f"{_TAG_SAYS}, and not begin with aws:", rf"(?![aA][wW][sS]:){_TAG_SCHEMA}"),
            ],
            Annotated[str, _text(_TAG, 256, 0, _TAG_SAYS, _TAG_SCHEMA)],
        ],
        Meta(max_length=MAX_TAGS, description="User tags; a run adds one more, the ownership tag."),
    ] = {}

    def canonical(self) -> Canonical:
        """The canonical form, and its digests."""
        whole = _encode(self)
        # The last field, if there is one: within a string the quotes would be escaped.
        at = whole.rfind(b',"tags":{')
        untagged, tags = (whole, b"{}") if at < 0 else (whole[:at] + b"}", whole[at + 8 : -1])
        return Canonical(untagged, tags, _digest(untagged), _digest_of_tags(tags))

    @staticmethod
    def digest_of_tags(tags: Mapping[str, str]) -> str:
        """What :meth:`canonical` says of these tags."""
        return _digest(_encode(tags))

    @classmethod
    def from_request(cls, body: bytes) -> Definition:
        """The definition in a body that :meth:`Canonical.request` made, or that a Get described; added tags are kept.

        Such a body has passed the limits once, the service's own at least: what only the documentation forbids is
        not looked for again.

        Raises:
            InvalidDefinitionError: the body is no definition.
        """
        try:
            return _decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidDefinitionError((Fault(1, "", "unreadable", printable(str(error))),), "") from error


class Rules(Struct, frozen=True):
    """What the configuration adds to the limits of the service.

    Args:
        defaults: put under every definition before it is validated, by wire names: maps merge, lists and texts of the
            definition replace.
        ownership_tag: the key of the tag that a run adds to every create, so that 49 are left; empty for none.
    """

    defaults: dict[str, Any] = {}
    ownership_tag: str = ""


class InvalidDefinitionError(ProvisionerError):
    """A line is no valid definition.

    Args:
        faults: everything that is wrong with it, by column; at least one.
        name: the definition's name, as far as it could be read; not safe to print.
    """

    reason = Reason.INVALID

    def __init__(self, faults: tuple[Fault, ...], name: str) -> None:
        first, more = faults[0], len(faults) - 1
        super().__init__(
            f"{first.path}: {first.message}" if first.path else first.message,
            where=f"column {first.column}" + (f", name {name}" if name else ""),
            hint=f"Faults in this line besides this one: {more}" if more else "",
        )
        self.faults = faults
        self.name = name


_decode = msgspec.json.Decoder(Definition).decode
_decode_any = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="deterministic").encode
_ESCAPED = re.compile(rb"\\.")


def _with_tag(tags: bytes, key: str, value: str) -> bytes:
    """The map ``tags`` with one more member, or with another value of it."""
    name = _encode(key)
    if name + b":" in tags:  # or in the text of another; then this way is merely slower
        return _encode({**_decode_any(tags), key: value})
    return b"%b%b%b:%b}" % (tags[:-1], b"," if len(tags) > 2 else b"", name, _encode(value))  # noqa: PLR2004  "{}"


def _digest(canonical: bytes) -> str:
    return sha256(canonical).digest()[:16].hex()


def _remembered(function: Callable[[_Tags], _Told]) -> Callable[[_Tags], _Told]:
    """``function`` of tags, with its answers remembered: they are few in a manifest, and stand there many times."""
    remembered = lru_cache(maxsize=1024)(function)

    def told(tags: _Tags) -> _Told:
        return (remembered if len(tags) <= REMEMBERED else function)(tags)

    return told


_digest_of_tags = _remembered(_digest)


def parse(line: bytes, rules: Rules) -> Definition:
    """The definition in one line of a manifest.

    Raises:
        InvalidDefinitionError: the line is none; carries every fault.
    """
    return _accepted(line, rules) or _diagnosed(line, rules)


def _accepted(line: bytes, rules: Rules) -> Definition | None:
    """The definition in a valid line, quickly; None for a line that is not valid."""
    try:
        definition, strings = _read(line, rules.defaults)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    fits = _texts_fit(definition) and _tags_fit(definition.tags, rules.ownership_tag) and _keys_once(line, strings)
    return definition if fits else None


def _read(line: bytes, defaults: Mapping[str, Any]) -> tuple[Definition, int]:
    """The definition, with the defaults under it, and how many strings the line itself has: see :func:`_keys_once`."""
    if not defaults:
        definition = _decode(line)
        return definition, _strings(definition)
    value = _decode_any(line)
    if not isinstance(value, dict):
        raise msgspec.ValidationError
    definition = msgspec.convert(merge(defaults, value), Definition)
    return definition, _strings(definition) - _strings_added(value, defaults)


def _strings(definition: Definition) -> int:
    """The strings in the definition's JSON, keys included; a field that is present but empty is not counted."""
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
    """The strings that ``merge(defaults, value)`` has and ``value`` has not."""
    added = 0
    for key, below in defaults.items():
        if key not in value:
            added += 1 + _strings_in(below)
        elif isinstance(below, dict) and isinstance(value[key], dict):
            added += _strings_added(value[key], below)
    return added


def _strings_in(value: object) -> int:
    """The strings in a value of JSON, keys included."""
    if isinstance(value, dict):
        return len(value) + sum(map(_strings_in, value.values()))
    return sum(map(_strings_in, value)) if isinstance(value, list) else int(isinstance(value, str))


def _keys_once(line: bytes, strings: int) -> bool:
    """Whether no key stands twice in a line that was decoded to ``strings`` strings, or a few more.

    A decoder lets the last of two equal keys win, so that the text has more strings than the value. Every string has
    two quotes of its own; others in the text are escaped.
    """
    if line.count(b'"') == 2 * strings:
        return True
    return _ESCAPED.sub(b"", line).count(b'"') == 2 * _strings_in(_decode_any(line))


def _texts_fit(definition: Definition) -> bool:
    """Whether each text keeps the rule of its type; lengths have been checked, tags are apart.

    What a rule forbids is never printable in the sense of ``str.isprintable``, which is quicker than a pattern.
    """
    name, description, kms_key = definition.name, definition.description, definition.kms_key_arn
    training, inference = definition.training_container_config, definition.inference_container_config
    if not ((name.isprintable() and not name.isspace()) or _NAME.fits(name)):
        return False
    if not (description.isprintable() or _DESCRIPTION.fits(description)):
        return False
    if not _reference_fits(_ROLE, definition.role_arn):
        return False
    if kms_key and not _reference_fits(_KMS_KEY, kms_key):
        return False
    if training is not UNSET and not (_reference_fits(_IMAGE, training.image_uri) and _container_fits(training)):
        return False
    return inference is UNSET or _reference_fits(_IMAGE, inference.image_uri)


@lru_cache(maxsize=1024)
def _reference_fits(rule: TextRule, text: str) -> bool:
    """Remembered: roles, keys and images are dear to check, few in a manifest, and stand there many times."""
    return rule.fits(text) is not None


def _container_fits(training: ContainerConfig) -> bool:
    texts = [*training.entrypoint, *training.arguments]
    for metric in training.metric_definitions:
        texts += (metric.name, metric.regex)
    return "".join(texts).isprintable() or all(map(_ONE_LINE.fits, texts))


_tag_fits = _remembered(_TAG.fits)


def _tags_fit(tags: dict[str, str], ownership_tag: str) -> bool:
    keys = "".join(tags)
    if not _tag_fits(keys + "".join(tags.values())):
        return False
    if ":" in keys and any(key[:4].lower() == _RESERVED for key in tags):
        return False
    return not ownership_tag or (ownership_tag not in tags and len(tags) < MAX_TAGS)


@cache
def _definition_type() -> msgspec.inspect.Type:
    return msgspec.inspect.type_info(Definition)


def _diagnosed(line: bytes, rules: Rules) -> Definition:
    """The definition in a line, read slowly, with the whole truth about a line that is not valid.

    Raises:
        InvalidDefinitionError: with every fault of the line.
    """
    scan = jsontext.scan(line)
    root, faults = scan.root, scan.faults
    name = root.members.get("name")
    if scan.complete:
        if root.kind == "object":
            diagnosis.overlay(root, rules.defaults)
        more = chain(
            diagnosis.faults(root, _definition_type(), diagnosis.Spot(column=root.column)),
            _tag_faults(root, rules.ownership_tag),
        )
        faults = sorted([*faults, *islice(more, jsontext.MAX_FAULTS + 1)], key=lambda fault: fault.column)
    if faults:
        raise InvalidDefinitionError(_capped(faults), name.text if name else "")
    return msgspec.convert(diagnosis.plain(root), Definition)


def _capped(faults: list[Fault]) -> tuple[Fault, ...]:
    """The first faults, and one that says that there are more."""
    if len(faults) <= jsontext.MAX_FAULTS:
        return tuple(faults)
    message = f"more than {jsontext.MAX_FAULTS} faults in this line; mend those that are told first"
    return (*faults[: jsontext.MAX_FAULTS], Fault(faults[-1].column, "", "more_faults", message))


def _tag_faults(root: jsontext.Node, ownership_tag: str) -> Iterator[Fault]:
    """What no type can say about the tags."""
    tags = root.members.get("tags")
    if tags is None or tags.kind != "object":
        return
    spot = diagnosis.Spot("tags", tags.column or root.column)
    for key, value in tags.members.items():
        column = value.key_column if value.column else 0
        if key[:4].lower() == _RESERVED:
            message = "the prefix aws: is reserved for AWS, in upper and lower case; rename the key"
            yield spot.member(key, value).fault("reserved_tag", message, column)
        elif ownership_tag and key == ownership_tag:
            message = "this key is the ownership tag, which a run writes itself; rename the key"
            yield spot.member(key, value).fault("reserved_tag", message, column)
    if ownership_tag and len(tags.members) == MAX_TAGS:
        message = f"{MAX_TAGS} tags, and the ownership tag needs one of the {MAX_TAGS}; remove one"
        yield spot.fault("too_many", message, tags.column)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a definition, with every limit that a schema can say."""
    (schema,), parts = msgspec.json.schema_components([Definition], ref_template="#/$defs/{name}")
    for part in parts.values():
        for property_ in part.get("properties", {}).values():
            property_.pop("default", None)  # a way to say "absent": not a value that the service takes
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Definition",
        "description": "One line of a manifest: the parameters of one CreateConfiguredModelAlgorithm call.",
        **schema,
        "$defs": parts,
    }
