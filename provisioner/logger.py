"""Where events go: to structlog where the program has configured it, to the standard ``logging`` where it has not.

Unconfigured, structlog prints to stdout, which a library must leave to the program that imports it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping


def _complete(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """``event`` without the fields that it does not have, which are None."""
    return {key: value for key, value in event.items() if value is not None}


_library = logging.getLogger("provisioner")
_library.addHandler(logging.NullHandler())  # without any handler, logging itself prints warnings to stderr
_standard = structlog.wrap_logger(
    _library,
    processors=[
        structlog.stdlib.filter_by_level,
        _complete,
        structlog.processors.KeyValueRenderer(key_order=["event"]),
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
)


class _Log:
    """Decides at each event, because a program may configure structlog after it has imported us."""

    def __getattr__(self, level: str) -> Callable[..., Any]:
        configured = structlog.get_logger() if structlog.is_configured() else _standard
        return cast("Callable[..., Any]", getattr(configured, level))


log = cast("structlog.stdlib.BoundLogger", _Log())
"""Logs an event: ``log.info("noun.verb_past", key=value)``. A key whose value is None is left out.

The name and all keys are literals: docs/logging.md lists every event with its level and fields, and a test compares
them. What logs often calls ``log.bind()`` once: the decision above takes fifty times as long as an event that is not
logged.
"""
