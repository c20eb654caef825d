"""Results and saved plans in S3."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from provisioner.aws import objects
from provisioner.core.objects import object_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def read_object(name: str) -> bytes:
    """All of a small object.

    Raises:
        ProvisionerError: it cannot be read.
    """
    with objects().source(object_name(name)).open() as body:
        return body.read()


@contextmanager
def written_object(name: str) -> Iterator[Callable[[str], object]]:
    """Write an object: a function that takes any part of it. It is there when the block ends without an error.

    Raises:
        ProvisionerError: it cannot be written.
    """
    with objects().write(object_name(name)) as add:
        yield lambda text: add(text.encode("utf-8", "backslashreplace"))


def check_object(name: str, *, replace: bool) -> None:
    """Make sure, before any work, that :func:`written_object` can write ``name``, as far as that can be known.

    Args:
        name: of the object.
        replace: whether an existing one may be replaced.

    Raises:
        ProvisionerError: it cannot be written, or is to stay.
    """
    objects().check_bucket(object_name(name), replace=replace)
