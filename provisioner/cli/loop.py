"""The event loop of a command that has no run, which a signal ends at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from provisioner.cli.program import interrupted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Result = TypeVar("Result")


def run(work: Callable[..., Awaitable[Result]], *arguments: Any) -> Result:  # noqa: ANN401  what work takes
    """What ``work`` returns.

    A signal raises an interrupt wherever the main thread is, so that it ends a blocked write, too. One that is raised
    inside a task ends the others as well, and the loop would print a traceback of each.
    """

    async def undisturbed() -> Result:
        asyncio.get_running_loop().set_exception_handler(_report)
        return await work(*arguments)

    return anyio.run(undisturbed)


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what went wrong in ``loop``, unless it is the interrupt that ends the command."""
    error = context.get("exception")
    if error is None or not interrupted(error):
        loop.default_exception_handler(context)
