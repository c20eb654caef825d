"""What a definition names that lies elsewhere than its target, for the notices of ``validate``.

No published rule forbids it, so none is a problem; but such a create, or what it makes, is likely to fail.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import UNSET

from provisioner.core.problem import Problem
from provisioner.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from provisioner.core.place import Place
    from provisioner.manifest.definition import Definition
    from provisioner.manifest.reader import Row

_ECR = re.compile(r"([0-9]{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.[a-z.]+/")
"""The host of a private registry: IPv4 only, dual-stack (``….dkr-ecr.REGION.on.aws``) or FIPS (Amazon ECR User Guide,
"Making requests to Amazon ECR registries")."""
_REMEMBERED = 4096
"""Values that were compared: a manifest has few, each many times."""


class PlaceCheck:
    """Compares what definitions name with the places of their targets, once for each value.

    Args:
        places: by target, as far as the configuration states them: "" for what it does not.
    """

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places
        self._compared: set[tuple[str, str]] = set()

    def notices(self, rows: Iterable[Row]) -> list[Problem]:
        """A notice for the first of ``rows`` with a value that is elsewhere, or that is an image's digest.

        Codes: ``other_account``, ``other_region``, ``image_digest``.
        """
        return [notice for row in rows for notice in self._of_row(row)]

    def _of_row(self, row: Row) -> Iterator[Problem]:
        for path, value in _values(row.definition):
            if (path, value) in self._compared:
                continue
            if len(self._compared) >= _REMEMBERED:
                self._compared.clear()
            self._compared.add((path, value))
            for code, text, target in self._of_value(path, value):
                name, message = printable(row.definition.name), f"{path}: {text}"
                yield Problem(row.source, row.line, name, code, message, column=1, target=target, severity="notice")

    def _of_value(self, path: str, value: str) -> Iterator[tuple[str, str, str]]:
        if "@" in value and path.endswith("imageUri"):
            yield "image_digest", "newer versions of the API mention images by tag only, not by digest", ""
        for target, place in self._places.items():
            for code, text in _elsewhere(path, value, place):
                yield code, text, target


def _values(definition: Definition) -> Iterator[tuple[str, str]]:
    yield "roleArn", definition.role_arn
    yield "kmsKeyArn", definition.kms_key_arn
    training, inference = definition.training_container_config, definition.inference_container_config
    if training is not UNSET:
        yield "trainingContainerConfig.imageUri", training.image_uri
    if inference is not UNSET:
        yield "inferenceContainerConfig.imageUri", inference.image_uri


def _elsewhere(path: str, value: str, place: Place) -> Iterator[tuple[str, str]]:
    """What of ``value`` is not in ``place``: codes and texts."""
    account, region = _place_of(path, value)
    if account and place.account_id and account != place.account_id:
        why = "only a role of its own account can be passed" if path == "roleArn" else "its policy must allow the pull"
        yield "other_account", f"account {account}, but the target is account {place.account_id}: {why}"
    if region and place.region and region != place.region:
        why = "a key works in its own Region only" if path == "kmsKeyArn" else "it may be out of reach from there"
        yield "other_region", f"{region}, but the target is in {place.region}: {why}"


def _place_of(path: str, value: str) -> tuple[str, str]:
    """The account and the Region that matter; "" where none does."""
    if path == "roleArn":
        return value.split(":")[4], ""
    if path == "kmsKeyArn":  # the account does not matter: a key may be shared
        return "", value.split(":")[3] if value else ""
    registry = _ECR.match(value)
    return (registry[1], registry[2]) if registry else ("", "")
