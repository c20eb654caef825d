"""File descriptors: how many connections this process can hold."""

from __future__ import annotations

import errno
import os
import resource

OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE})
SPARE_FILES = 128
"""Files that are left to everything but the connections of creates: the ledger, manifests, logs, the SDK's clients."""
FEWEST = 16
"""Connections that are tried, however few files there are."""


def connections_at_most() -> int:
    """How many connections may be in use at once."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1 << 20
    return max(FEWEST, soft - SPARE_FILES)


def no_file_left() -> bool:
    """Whether this process or machine cannot open another file, which a connection is too."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in OUT_OF_FILES
    return False
