"""What went wrong in a run, by cause: ten thousand definitions that fail alike are one message and a count. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.core.problem import Problem

EXAMPLES = 3
"""Definitions that are named for each cause."""
MOST = 1000
"""Causes that are told apart. Beyond them, what fails for yet another cause is counted among all problems only."""
_ARN = r"arn:[^\s,;\"']+[^\s,;:)\"'.]"
_ARNS = re.compile(f"{_ARN}(?:, {_ARN})*")
_ACCOUNT = re.compile(r"(?<![\w-])\d{12}(?![\w-])")
_KINDS = {
    ":configured-model-algorithm/": "its algorithm",
    ":role/": "its role",
    ":key/": "its KMS key",
    ":assumed-role/": "the caller",
    ":user/": "the caller",
}
"""What a message about many has in place of the ARN of each; of a list, the plural. An account is ``…``."""

LISTED = {
    "drifted": "list --state drifted",
    "superseded": "list --state superseded",
    "not_planned": "",
    "missing": "",
    "unread": "",
    "duplicate": "verify",
    "unrecorded": "verify",
    "prune_refused": "",
    "unresolved": "",
}
"""The words of the command that lists a cause whose code is not an entry's; "" if only the record of the run has it."""


class Example(msgspec.Struct, frozen=True, omit_defaults=True):
    """A definition, or a line, among those of a cause."""

    name: str
    source: str = ""
    line: int = 0
    target: str = ""

    def __str__(self) -> str:
        return self.name or f"{self.source}:{self.line}"


class Cause(msgspec.Struct, omit_defaults=True):
    """Problems with one code and one message, apart from ARNs and accounts in it.

    Attributes:
        code: of the problems.
        message: of the first, without ARN and account if they have different ones.
        count: how many there are.
        examples: the first of them.
        of_manifest: whether they are about lines, so that no entry has them.
    """

    code: str
    message: str
    count: int = 0
    examples: list[Example] = []
    of_manifest: bool = False

    def listed_by(self, record: str) -> str:
        """The words of the command that lists all of them; ``record`` are those that show the record of the run."""
        if self.of_manifest:
            return "validate MANIFEST"
        return LISTED.get(self.code, f"list --code {self.code}") or record


def key_of(code: str, message: str) -> tuple[str, str]:
    """What problems of one cause have in common."""
    words: dict[str, str] = {}
    for arns in _ARNS.findall(message):
        word = next((word for kind, word in _KINDS.items() if kind in arns), "its ARN") + "s" * (", " in arns)
        words.setdefault(arns, "another" if word in words.values() else word)
    return code, _ACCOUNT.sub("…", _ARNS.sub(lambda arns: words[arns[0]], message))


class Causes:
    """Counts problems by cause."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Cause] = {}

    def add(self, problem: Problem) -> None:
        """Count ``problem``."""
        key = key_of(problem.code, problem.message)
        cause = self._found.get(key)
        if cause is None:
            if len(self._found) >= MOST:
                return
            cause = self._found[key] = Cause(problem.code, problem.message, of_manifest=problem.column > 0)
        elif cause.message != problem.message:
            cause.message = key[1]
        cause.count += 1
        if len(cause.examples) < EXAMPLES:
            cause.examples.append(Example(problem.name, problem.source, problem.line, problem.target))

    def include(self, other: Causes) -> None:
        """Count what ``other`` has counted, too."""
        for key, theirs in other._found.items():
            ours = self._found.get(key)
            if ours is None:
                self._found[key] = msgspec.structs.replace(theirs, examples=list(theirs.examples))
                continue
            ours.count += theirs.count
            ours.message = ours.message if ours.message == theirs.message else key[1]
            ours.examples += theirs.examples[: EXAMPLES - len(ours.examples)]

    def repeated(self) -> list[Cause]:
        """Those that several problems have, the most frequent first."""
        return sorted((cause for cause in self._found.values() if cause.count > 1), key=lambda cause: -cause.count)


def single(problems: Iterable[Problem], repeated: Iterable[Cause]) -> list[Problem]:
    """Those of ``problems`` that none of the causes in ``repeated`` counts."""
    counted = {key_of(cause.code, cause.message) for cause in repeated}
    return [problem for problem in problems if key_of(problem.code, problem.message) not in counted]
