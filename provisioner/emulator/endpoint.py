"""Starts the embedded endpoint: in a task, in a thread, or as a process of its own."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Self

from provisioner.emulator.behaviour import Behaviour
from provisioner.emulator.front import HOST, Front, Truth, listen, truth_of
from provisioner.emulator.keys import DEFAULT_ACCOUNT, credentials
from provisioner.emulator.service import Service
from provisioner.emulator.state import Accounts
from provisioner.emulator.store import Store
from provisioner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Emulator:
    """Clean Rooms ML, and what the product calls of STS and the tagging API, on a port of the loopback interface.

    Every account of twelve digits and every Region exists; ``credentials(account_id)`` returns the keys of an account.
    ``async with`` starts and stops it.

    Args:
        behaviour: its switches; :attr:`behaviour` can be assigned while it runs.
        state_file: keeps the algorithms when the process ends; None keeps them in memory.
        port: 0 takes any free port.

    Raises:
        StateFileBusyError: another endpoint holds the state file.
        StateFileError: the state file cannot be used.
        UsageError: the port is taken.
    """

    def __init__(self, behaviour: Behaviour | None = None, *, state_file: Path | None = None, port: int = 0) -> None:
        self._first_behaviour = behaviour or Behaviour()
        self._state_file = state_file
        self._port = port
        self._store: Store | None = None

    async def __aenter__(self) -> Self:
        try:
            listener = listen(self._port)  # before the state file, so that a taken port leaves no new file behind
        except OSError as error:
            raise UsageError("the port cannot be used", where=f"{HOST}:{self._port}", why=str(error)) from error
        try:
            self._service = Service(self._first_behaviour, self._load())
            self._front = Front(self._service, listener)
            await self._front.start()
        except BaseException:
            listener.close()
            self._close_store()
            raise
        return self

    def _load(self) -> Accounts:
        ids = Random(f"ids of {self._first_behaviour.seed}")  # noqa: S311 - replayable by their seed, not secret
        if self._state_file is None:
            return Accounts(ids)
        self._store = Store(self._state_file)
        return Accounts(ids, self._store.save, self._store.load())

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._front.stop()
        finally:
            self._close_store()

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    @property
    def url(self) -> str:
        """The endpoint URL, without a slash at its end."""
        return f"http://{HOST}:{self._front.port}"

    @property
    def behaviour(self) -> Behaviour:
        """The current switches; scripts hold what is left of them."""
        return self._service.behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        self._service.behaviour = behaviour

    @property
    def truth(self) -> Truth:
        """Everything that it holds and every call, live."""
        return truth_of(self._service)

    @property
    def usage(self) -> str:
        """A command line that uses it."""
        keys = " ".join(f"{name}={value}" for name, value in credentials(DEFAULT_ACCOUNT).environment().items())
        return f"{keys} AWS_REGION=us-east-1 provisioner apply MANIFEST --endpoint-url {self.url}"


@contextmanager
def running(behaviour: Behaviour | None = None, *, state_file: Path | None = None, port: int = 0) -> Iterator[Emulator]:
    """Runs an endpoint in a thread, for callers that do not await. Arguments and errors are those of Emulator."""
    emulator = Emulator(behaviour, state_file=state_file, port=port)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="emulator", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(emulator.__aenter__(), loop).result()
        try:
            yield emulator
        finally:
            asyncio.run_coroutine_threadsafe(emulator.__aexit__(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def serve(emulator: Emulator, announce: Callable[[Emulator], None]) -> None:
    """Runs an endpoint until SIGTERM or SIGINT; calls ``announce`` when it accepts connections.

    Raises:
        ProvisionerError: as for Emulator.
    """
    import uvloop

    uvloop.run(_serve(emulator, announce))


async def _serve(emulator: Emulator, announce: Callable[[Emulator], None]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:  # a shell's background job ignores SIGINT, and is to go on
            loop.add_signal_handler(number, stopped.set)
    async with emulator:
        announce(emulator)
        await stopped.wait()
