"""Names of objects in S3, as arguments and options have them: ``s3://bucket/key``. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from provisioner.errors import UsageError

SCHEME = "s3://"
_PARTS = re.compile(r"(arn:[^/]+:accesspoint[/:][^/]+|[^/]+)/(.+)", re.DOTALL)


class ObjectName(NamedTuple):
    """An object in S3.

    Attributes:
        bucket: its bucket's name, or the ARN of an access point.
        key: its key, exactly as it was written: nothing in it is decoded or expanded.
    """

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"


def is_object(name: str) -> bool:
    """Whether ``name`` names an object in S3, rather than a file."""
    return name.startswith(SCHEME)


def object_name(name: str) -> ObjectName:
    """The object that ``name`` names.

    Raises:
        UsageError: it has no bucket or no key, or names a folder.
    """
    parts = _PARTS.fullmatch(name.removeprefix(SCHEME))
    if parts is None or parts[2].endswith("/"):
        hint = "Name one object: s3://BUCKET/KEY"
        raise UsageError("this does not name an object in S3", where=name, hint=hint)
    return ObjectName(parts[1], parts[2])
