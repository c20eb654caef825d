"""Creates on a machine that has no file left for another connection."""

from __future__ import annotations

import asyncio
import os
import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

from provisioner.core.verdict import Loss, Verdict, judge
from tests.aws.server import ARN, BODY, Server, allowed, created

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.aws.conftest import Open
    from tests.aws.server import Line


@contextmanager
def no_file_left() -> Iterator[None]:
    """This process cannot open another file."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, before[1]))
    try:
        while True:
            taken.append(os.dup(taken[0]))
    except OSError:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in taken:
            os.close(descriptor)


async def test_no_file_left_is_no_fault_of_the_endpoint(open_at: Open) -> None:
    """A limit of this machine has a loss of its own, for a name as for an address, and nothing was sent."""
    async with Server() as server, open_at(server.url) as by_name, open_at(f"http://127.0.0.1:{server.port}") as aws:
        with no_file_left():
            replies = [await one.creates.create(BODY, allowed) for one in (by_name, aws)]
        later = await aws.creates.create(BODY, allowed)

        assert [(reply.loss, judge(reply)) for reply in replies] == [(Loss.FILES, Verdict.NOT_CREATED)] * 2
        assert later.arn == ARN


async def test_where_other_connections_are_open_a_create_waits_for_one(open_at: Open) -> None:
    """As long as a connection will come back, those that get no other wait for it, and each is answered."""

    async def slowly(line: Line) -> None:
        await asyncio.sleep(0.1)
        await created()(line)

    async with Server(slowly) as server, open_at(server.url, direct=True) as aws:
        first = asyncio.create_task(aws.creates.create(BODY, allowed))
        await server.arrived.wait()
        with no_file_left():
            others = [asyncio.create_task(aws.creates.create(BODY, allowed)) for _ in range(4)]
            replies = await asyncio.gather(first, *others)

        assert [(reply.loss, reply.arn) for reply in replies] == [(None, ARN)] * 5
        assert server.connections == 1
