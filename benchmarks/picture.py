"""Makes docs/demo.svg: runs the demo twice in a terminal of its own, and draws what a person sees.

python -m benchmarks.picture
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = 124
MOVES = re.compile(r"\x1b\[(\d*)A|\x1b\[2K|\x1b\[\?25[lh]|\r|\n")
"""What the progress bar sends besides colours: up, erase line, cursor on and off."""


def in_terminal(command: list[str]) -> str:
    """Everything that ``command`` writes to a terminal of COLUMNS columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    process = subprocess.Popen(command, stdout=slave, stderr=slave, cwd=ROOT, env=environment)
    os.close(slave)
    written = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # the terminal's last writer has gone
            break
        if not chunk:
            break
        written += chunk
    process.wait()
    os.close(master)
    return written.decode()


def screen(written: str) -> list[str]:
    """The lines that stand on the screen at the end."""
    lines, row, start = [""], 0, 0
    for move in [*MOVES.finditer(written), None]:
        lines[row] += written[start : move.start() if move else None]
        if move is None:
            break
        start, text = move.end(), move.group()
        if text.endswith("A"):
            row = max(0, row - int(move.group(1) or 1))
        elif text == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif text.endswith("2K"):
            lines[row] = ""
    return lines


def main() -> None:
    """Run, draw, write."""
    shutil.rmtree(ROOT / "demo", ignore_errors=True)
    (ROOT / "demo").mkdir()
    provisioner = str(Path(sys.executable).parent / "provisioner")
    arguments = ["apply", "configs/example.jsonl", "--config", "configs/demo.toml", "--local"]
    console = Console(record=True, width=COLUMNS, file=Path(os.devnull).open("w"))  # noqa: SIM115  ends with the process
    for _ in range(2):
        console.print(Text(f"$ provisioner {' '.join(arguments)}", style="bold"))
        for line in screen(in_terminal([provisioner, *arguments]).replace(str(ROOT), "/home/you/provisioner")):
            console.print(Text.from_ansi(line), soft_wrap=False, overflow="crop")
    console.save_svg(str(ROOT / "docs" / "demo.svg"), title="make demo, twice")


if __name__ == "__main__":
    main()
