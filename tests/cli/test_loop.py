"""The event loop of commands that have no run."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import anyio
import pytest

from provisioner.cli import loop
from provisioner.cli.program import interrupted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def _fail(error: BaseException) -> None:
    raise error


async def _in_a_task(error: BaseException) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever)
        asyncio.get_running_loop().call_soon(group.start_soon, _raise_here, error)


async def _raise_here(error: BaseException) -> None:
    raise error


async def _in_a_callback(error: BaseException) -> None:
    asyncio.get_running_loop().call_soon(_fail, error)
    await asyncio.sleep(0.001)


@pytest.mark.parametrize("work", [_in_a_task, _raise_here, _in_a_callback])
def test_an_interrupt_ends_the_loop_without_a_traceback(
    caplog: pytest.LogCaptureFixture, work: Callable[[BaseException], Awaitable[None]]
) -> None:
    """Wherever a signal interrupts it, the loop itself says nothing: the command's one line does."""
    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup), check=interrupted):
        loop.run(work, KeyboardInterrupt())

    assert caplog.records == []


def test_the_loop_reports_what_nobody_else_would(caplog: pytest.LogCaptureFixture) -> None:
    """An error in a callback is a bug, and is not passed over."""
    loop.run(_in_a_callback, LookupError("a bug"))

    assert [record.levelno for record in caplog.records] == [logging.ERROR]
