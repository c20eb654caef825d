"""moto's server: AWS services as a real HTTP server, with a state that ends with it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from moto.core.base_backend import BackendDict
from moto.server import ThreadedMotoServer

from provisioner.emulator.moto import register

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def moto_server() -> Iterator[str]:
    """The URL of a server that answers for all services that moto has, and for Clean Rooms ML."""
    register()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        BackendDict.reset()  # moto's server keeps its state in the process
        server.stop()
