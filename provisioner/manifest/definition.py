"""Definitions: the parameters of one CreateConfiguredModelAlgorithm call, their limits, canonical form and digests.

The limits come from the service model (botocore ``cleanroomsml/2023-09-06``) and, where that says less, from the
service's documentation: 50 user tags, the characters of tags, the two forms of an image URI. They are written once, in
the types below; the parser, the diagnosis of an invalid line and the JSON Schema all read them there.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from provisioner.errors import printable
from provisioner.manifest import text_rules
from provisioner.manifest.problems import InvalidDefinitionError, LineProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioner.manifest.text_rules import TextRule

_Tags = TypeVar("_Tags", str, bytes)
_Result = TypeVar("_Result")

MAX_TAGS = 50
"""User tags on a resource: the documentation's limit; the service model says 200."""
CACHED_TAGS_BYTES = 2048
"""Tags up to this length are cached, 1,024 of them: a manifest repeats a few sets of tags many times. The longest tags
have 77 KiB, which would make the cache 77 MiB."""


def _text(rule: TextRule, most: int, least: int, description: str, schema: str = "") -> Meta:
    """The limits of a string: msgspec checks the lengths, the parser and the diagnosis the rule."""
    return Meta(
        min_length=least or None,
        max_length=most,
        description=description,
        extra={"text": rule},
        extra_json_schema={"pattern": f"^(?:{schema or rule.pattern})$"},
    )


_Image = Annotated[
    str,
    _text(
        text_rules.IMAGE, 255, 1, "The container image: registry/repository[:tag] or registry/repository@sha256:digest."
    ),
]
_Entrypoint = Annotated[str, _text(text_rules.ONE_LINE, 256, 1, "One word of the command.")]
_Argument = Annotated[str, _text(text_rules.ONE_LINE, 256, 1, "One argument.")]

TARGETS = "targets"
"""The key of a line that names its targets: no part of the definition, and never sent to AWS."""
Patterns = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...],
    Meta(
        min_length=1,
        max_length=100,
        description="The targets that the line is for: names, globs, tag:KEY=VALUE, with ! not these; never sent.",
    ),
]
"""See :mod:`provisioner.core.targets`."""


class _Wire(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel", gc=False):
    """Encoded in camelCase; a field that equals its default is left out, so that absent and empty are the same."""


class MetricDefinition(_Wire, frozen=True, order=True):
    """A metric, and the regular expression that finds it in the container's log."""

    name: Annotated[str, _text(text_rules.ONE_LINE, 255, 1, "The metric's name.")]
    regex: Annotated[str, _text(text_rules.ONE_LINE, 500, 1, "Finds the metric's value in a log line.")]


class ContainerConfig(_Wire, frozen=True):
    """The container that trains."""

    image_uri: _Image
    entrypoint: Annotated[
        tuple[_Entrypoint, ...],
        Meta(min_length=1, max_length=100, description="The command; overrides the image's own."),
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
    r"""A definition as bytes that are equal for equal content, in every version of the program.

    JSON in UTF-8 without white space: fields in the order of :class:`Definition`, metrics as a set, sorted by
    name and regex; tags in code point order; fields that equal their default left out; only ``"``, ``\\`` and control
    characters escaped.

    Args:
        untagged: the definition without ``tags``.
        tags: the value of ``tags``, the one field that can be changed after the create.
        digest: of ``untagged``: the first half of its SHA-256, 32 hexadecimal digits.
        tags_digest: of ``tags``, likewise.
    """

    untagged: bytes
    tags: bytes
    digest: str
    tags_digest: str

    def request(self, tags: Mapping[str, str]) -> bytes:
        """The JSON body of the create call, with ``tags`` added to the definition's own."""
        both = self.tags
        for key, value in tags.items():
            both = _with_tag(both, key, value)
        return b'%b,"tags":%b}' % (self.untagged[:-1], both) if both != b"{}" else self.untagged


class Definition(_Wire, frozen=True):
    """The parameters of one create call.

    Attributes are the API's names in snake_case.
    """

    name: Annotated[str, _text(text_rules.NAME, 63, 1, "The name of the configured model algorithm.")]
    role_arn: Annotated[str, _text(text_rules.ROLE, 2048, 20, "The ARN of the IAM role that pulls the image.")]
    description: Annotated[str, _text(text_rules.DESCRIPTION, 255, 0, "A description; may have line breaks.")] = ""
    training_container_config: ContainerConfig | UnsetType = UNSET
    inference_container_config: InferenceContainerConfig | UnsetType = UNSET
    kms_key_arn: Annotated[
        str, _text(text_rules.KMS_KEY, 2048, 20, "The ARN of the KMS key that encrypts the algorithm.")
    ] = ""
    tags: Annotated[
        dict[
            Annotated[
                str,
                _text(
                    text_rules.TAG,
                    128,
                    1,
                    f"{text_rules.TAG_SAYS}, and not begin with aws:",
                    rf"(?![aA][wW][sS]:){text_rules.TAG_SCHEMA}",
                ),
            ],
            Annotated[str, _text(text_rules.TAG, 256, 0, text_rules.TAG_SAYS, text_rules.TAG_SCHEMA)],
        ],
        Meta(max_length=MAX_TAGS, description="User tags; a run adds one more, the ownership tag."),
    ] = {}

    def with_sorted_metrics(self) -> Definition:
        """The same definition with its metrics as a set: sorted by name, then regex, each once.

        The service's schema calls ``metricDefinitions`` unordered, and a Get may return them in any order.
        """
        training = self.training_container_config
        if training is UNSET or len(training.metric_definitions) < 2:  # noqa: PLR2004  nothing to sort
            return self
        metrics = tuple(sorted(set(training.metric_definitions)))
        if metrics == training.metric_definitions:
            return self
        training = msgspec.structs.replace(training, metric_definitions=metrics)
        return msgspec.structs.replace(self, training_container_config=training)

    def canonical(self) -> Canonical:
        """The canonical form, and its digests."""
        whole = _encode(self.with_sorted_metrics())
        # Tags are the last field. The match cannot be inside a string, where the quotes would be escaped.
        at = whole.rfind(b',"tags":{')
        untagged, tags = (whole, b"{}") if at < 0 else (whole[:at] + b"}", whole[at + 8 : -1])
        return Canonical(untagged, tags, _digest(untagged), _digest_of_tags(tags))

    @staticmethod
    def digest_of_tags(tags: Mapping[str, str]) -> str:
        """The ``tags_digest`` of a definition with these tags."""
        return _digest(_encode(tags))

    @classmethod
    def from_request(cls, body: bytes) -> Definition:
        """The definition in a request body (:meth:`Canonical.request`) or in the response of a Get, all tags included.

        Types and lengths are checked, the rules of the texts are not: the service has accepted this body before.

        Raises:
            InvalidDefinitionError: the body is not a definition.
        """
        try:
            return _decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidDefinitionError((LineProblem(1, "", "unreadable", printable(str(error))),), "") from error


_decode = msgspec.json.Decoder(Definition).decode
_decode_any = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="deterministic").encode


def _with_tag(tags: bytes, key: str, value: str) -> bytes:
    """The JSON object ``tags`` with one more member, or with another value of it."""
    name = _encode(key)
    if name + b":" in tags:  # perhaps only inside a value; then this way is merely slower
        return _encode({**_decode_any(tags), key: value})
    return b"%b%b%b:%b}" % (tags[:-1], b"," if len(tags) > 2 else b"", name, _encode(value))  # noqa: PLR2004  "{}"


def _digest(canonical: bytes) -> str:
    return sha256(canonical).digest()[:16].hex()


def cached_by_tags(function: Callable[[_Tags], _Result]) -> Callable[[_Tags], _Result]:
    """``function`` of tags with a cache: a manifest repeats a few sets of tags many times."""
    cached = lru_cache(maxsize=1024)(function)

    def call(tags: _Tags) -> _Result:
        return (cached if len(tags) <= CACHED_TAGS_BYTES else function)(tags)

    return call


_digest_of_tags = cached_by_tags(_digest)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a definition, with every limit that a schema can express."""
    parts = _parts()
    parts["Definition"]["properties"][TARGETS] = msgspec.json.schema(Patterns)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Definition",
        "description": "One line of a manifest: the parameters of one CreateConfiguredModelAlgorithm call.",
        "$ref": "#/$defs/Definition",
        "$defs": parts,
    }


def schemas_of_defaults() -> dict[str, Any]:
    """The JSON Schemas of a table of defaults and of its parts, by name; ``Definition`` is the table itself.

    A line fills in what a definition or a container needs; a metric in a list is whole.
    """
    parts = _parts()
    for name, part in parts.items():
        if name != MetricDefinition.__name__:
            del part["required"]
    return parts


def _parts() -> dict[str, Any]:
    """The JSON Schemas of a definition and its parts, by name."""
    parts: dict[str, Any] = msgspec.json.schema_components([Definition], ref_template="#/$defs/{name}")[1]
    for part in parts.values():
        part["description"] = part["description"].partition("\n")[0]
        for property_ in part["properties"].values():
            property_.pop("default", None)  # stands for "absent" here; the service accepts no such value
    return parts
