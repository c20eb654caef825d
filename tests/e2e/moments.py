"""Something happens to the process at an exact moment of its life: at the import of a module, or at its very end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_SITECUSTOMIZE = """
import atexit, importlib.abc, os, resource, signal, sys

MOMENT = os.environ.pop("TEST_MOMENT", "")

def act():
    {action}

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == MOMENT and self in sys.meta_path:
            sys.meta_path.remove(self)
            act()

class Late:
    def __del__(self, act=act):
        act()

if MOMENT == "at exit":
    atexit.register(act)
elif MOMENT == "in the last moment":
    late = Late()
elif MOMENT:
    sys.meta_path.insert(0, Finder())
"""

TERMINATED = "os.kill(os.getpid(), signal.SIGTERM)"
IN_A_CLASS = f'type("Owner", (), {{"part": type("Part", (), {{"__set_name__": lambda *_: {TERMINATED}}})()}})'
OUT_OF_MEMORY = "raise MemoryError"
BUG = "raise LookupError('a bug')"


def at(moment: str, action: str, folder: Path) -> dict[str, Any]:
    """Environment variables that make ``action`` happen at ``moment``.

    Args:
        moment: the import of the module of this name, ``at exit``, or ``in the last moment``, when the interpreter has
            given up its signal handlers.
        action: a statement.
        folder: where the interpreter finds it.
    """
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(action=action))
    return {"TEST_MOMENT": moment, "PYTHONPATH": os.fspath(folder)}
