"""What a manifest needs of a target's account: room, roles, images, keys. Read as a stream, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from provisioner.core.images import read_image

if TYPE_CHECKING:
    from collections.abc import Collection

    from provisioner.manifest.definition import Definition
    from provisioner.manifest.reader import Manifest

_T = TypeVar("_T")

MOST = 20
"""Distinct roles, images and keys that are looked at; each takes up to a handful of calls."""
REPOSITORIES = 3
"""Repositories of one role that are looked at."""


class Needs(msgspec.Struct):
    """What was found in a manifest.

    Attributes:
        valid, invalid: lines.
        new: valid lines whose name the account does not have.
        roles: by ARN, the images that the role is to pull, one for each of some repositories.
        images, keys: the distinct ones.
        more: of which kinds there are more than ``MOST``.
    """

    valid: int = 0
    invalid: int = 0
    new: int = 0
    roles: dict[str, dict[str, str]] = {}
    images: dict[str, None] = {}
    keys: dict[str, None] = {}
    more: set[str] = set()

    @classmethod
    def of(cls, manifest: Manifest, names: Collection[str]) -> Needs:
        """What ``manifest`` needs in an account that has algorithms called ``names``. Reads it, and so blocks."""
        needs = cls()
        for batch in manifest.batches():
            needs.invalid += batch.invalid
            needs.valid += len(batch.rows)
            for row in batch.rows:
                needs.new += row.name not in names
                needs._add(row.definition)
        return needs

    def _add(self, definition: Definition) -> None:
        repositories = self.roles.get(definition.role_arn)
        if repositories is None:
            repositories = {}
            self._keep("role", self.roles, definition.role_arn, repositories)
        for uri in _images(definition):
            self._keep("image", self.images, uri, None)
            image = read_image(uri)
            if image and len(repositories) < REPOSITORIES:
                repositories.setdefault(f"{image.account_id}/{image.region}/{image.repository}", uri)
        if definition.kms_key_arn:
            self._keep("key", self.keys, definition.kms_key_arn, None)

    def _keep(self, kind: str, kept: dict[str, _T], key: str, value: _T) -> None:
        if key in kept:
            return
        if len(kept) < MOST:
            kept[key] = value
        else:
            self.more.add(kind)


def _images(definition: Definition) -> list[str]:
    configs = (definition.training_container_config, definition.inference_container_config)
    return [config.image_uri for config in configs if config]
