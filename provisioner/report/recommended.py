"""The commands that a result recommends, with the options that lead them to the same configuration and ledger. Pure."""

from __future__ import annotations

import shlex

import msgspec

_BY_CONFIG = frozenset({"validate"})
"""Commands that have a configuration and no ledger."""
_ALONE = frozenset({"explain"})
"""Commands that have neither."""
_CALLING = frozenset({"apply", "plan", "verify", "reconcile", "destroy", "adopt"})
"""Commands that call AWS."""


class Recommended(msgspec.Struct, frozen=True, kw_only=True):
    """Completes commands.

    Attributes:
        config, ledger: as the command line or the environment named them, "" if neither did.
        service: the options that name the endpoint, "" for AWS.
        manifest: the arguments that name the manifest, as a shell takes them.
        shard: of the targets, "" for all.
        shard_ledger: the ledger of the shard, for commands that know of no shards; "" if it has none of its own.
    """

    config: str = ""
    ledger: str = ""
    service: str = ""
    manifest: str = "MANIFEST"
    shard: str = ""
    shard_ledger: str = ""

    def command(self, words: str) -> str:
        """``provisioner``, ``words``, and the options; MANIFEST among the words is replaced."""
        verb = words.split(maxsplit=1)[0]
        options = []
        if verb not in _ALONE and self.config:
            options.append(f"--config {shlex.quote(self.config)}")
        ledger = self.ledger if verb in _CALLING else self.shard_ledger or self.ledger
        if verb not in _ALONE | _BY_CONFIG and ledger:
            options.append(f"--ledger {shlex.quote(ledger)}")
        if verb in _CALLING and self.shard:
            options.append(f"--shard {self.shard}")
        if verb in _CALLING and self.service:
            options.append(self.service)
        return " ".join(["provisioner", words.replace("MANIFEST", self.manifest), *options])


PLAIN = Recommended()
"""For a result whose reader knows the rest, such as the text of a summary in a program."""
