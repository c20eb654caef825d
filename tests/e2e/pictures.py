"""The pictures in README.md and docs/: what a terminal shows of real commands, and the text that a picture has.

``make pictures`` draws them anew; ``test_pictures.py`` compares them with what the commands show now.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import struct
import sys
import tempfile
import termios
import xml.etree.ElementTree as ET
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.text import Text

from provisioner.emulator import Behaviour, running
from tests.definition_lines import lines_of, manifest_of
from tests.e2e.process import EXAMPLE, LIMIT_S, ROOT, Endpoint, Process, command, provisioner, read_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COLUMNS, ROWS = 100, 40
HOME = "/home/you/work"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:{}"
MOVES = re.compile(r"\x1b\[(\d*)A|\x1b\[2K|\x1b\[\?25[lh]|\r|\n")
"""What progress sends besides colors: up, erase line, cursor on and off."""
FRAME = "\r\x1b[2K"
"""What a frame of progress that replaces another one begins with."""


class Shown(NamedTuple):
    """A command and what the terminal shows of it.

    Attributes:
        line: as it is typed, without its first word.
        moments: regular expressions; of each, the last state of the terminal in which a line matches is shown before
            the end.
    """

    line: str
    moments: tuple[str, ...] = ()


class Scene(NamedTuple):
    """A picture.

    Attributes:
        title: of its window.
        commands: that it shows.
        prepare: makes the folder in which they run; told whether it is for the picture, or for a test that has less
            time.
        behaviour: of the endpoint that they use; None where they have ``--local``.
    """

    title: str
    commands: tuple[Shown, ...]
    prepare: Callable[[Path, Endpoint, bool], None]
    behaviour: Behaviour | None = Behaviour()


def _limited(folder: Path, endpoint: Endpoint, whole: bool) -> None:  # noqa: FBT001  see Scene
    del endpoint
    lines = EXAMPLE.read_bytes().splitlines(keepends=True)
    (folder / "definitions.jsonl").write_bytes(b"".join(lines if whole else lines[:70]))


def _refused(folder: Path, endpoint: Endpoint, whole: bool) -> None:  # noqa: FBT001
    del whole
    (folder / "definitions.jsonl").write_bytes(manifest_of(*(f"lookalike {number}" for number in range(1, 4))))
    done = provisioner("apply", "definitions.jsonl", "-l", "old.db", "--endpoint-url", endpoint.url, cwd=folder)
    assert done.returncode == 0
    lines = manifest_of(*(f"lookalike {number}" for number in range(1, 13)))
    (folder / "definitions.jsonl").write_bytes(lines + b'{"name": "lookalike 13", "roleArn": "access"}\n')


def _changed(folder: Path, endpoint: Endpoint, whole: bool) -> None:  # noqa: FBT001
    del whole

    def definitions(version: str, *names: str) -> bytes:
        image = {"trainingContainerConfig": {"imageUri": IMAGE.format(version)}}
        return manifest_of(*names, **image)

    first = definitions("1.0", "lookalike 1", "lookalike 2", "lookalike 3", "lookalike 4")
    (folder / "definitions.jsonl").write_bytes(first)
    done = provisioner("apply", "definitions.jsonl", "--endpoint-url", endpoint.url, cwd=folder)
    assert done.returncode == 0
    new = definitions("1.0", "lookalike 1") + definitions("1.1", "lookalike 2", "lookalike 3", "lookalike 5")
    (folder / "definitions.jsonl").write_bytes(new)


def _unanswered(folder: Path, endpoint: Endpoint, whole: bool) -> None:  # noqa: FBT001
    del whole, endpoint
    (folder / "provisioner.toml").write_text("[reconcile]\nsettle = '2s'\nlist_lag = '100ms'\n")
    (folder / "definitions.jsonl").write_bytes(manifest_of(*(f"lookalike {number}" for number in range(1, 13))))


def _fleet(folder: Path, endpoint: Endpoint, whole: bool) -> None:  # noqa: FBT001
    del endpoint
    targets = [f"prod-{number:02}" for number in range(1, 41 if whole else 13)]
    role = "arn:aws:iam::123456789012:role/{}"
    local = f"[local]\nrate = 1\nburst = 2\nlatency = 0.2\nquota = 4\ndenied_roles = ['{role.format('none')}']\n"
    tables = [
        f"[targets.{name}]\nregion = 'us-east-1'\naccount_id = '{number:012}'\n"
        f"[targets.{name}.defaults]\nroleArn = '{role.format('none' if number == DENIED else 'access')}'\n"
        for number, name in enumerate(targets, 1)
    ]
    (folder / "fleet.toml").write_text(local + "".join(tables))
    lines = [{"name": f"lookalike {number}"} for number in range(1, 7)]
    (folder / "definitions.jsonl").write_bytes(lines_of(*lines[4:]))
    done = provisioner("apply", "definitions.jsonl", "-c", "fleet.toml", "--local", "-t", targets[FULL], cwd=folder)
    assert done.returncode == 0, done.stdout
    (folder / "definitions.jsonl").write_bytes(lines_of(*lines[:4]))


DENIED, FULL = 7, 10
"""Targets that halt: one by a role that may not be passed, one by a quota."""
APPLY = "apply definitions.jsonl"
SCENES = {
    "apply": Scene(
        "provisioner apply, twice",
        (Shown(APPLY, (r"\d/s",)), Shown(APPLY)),
        _limited,
        Behaviour(rate=20, burst=20, latency=0.08, jitter=0.3),
    ),
    "failure": Scene("provisioner apply: definitions fail", (Shown(APPLY),), _refused),
    "plan": Scene("provisioner plan", (Shown(f"plan {APPLY.split()[1]} --on-change replace --prune"),), _changed),
    "drift": Scene("provisioner apply: definitions have changed", (Shown(APPLY),), _changed),
    "fleet": Scene(
        "provisioner apply: many targets",
        (
            Shown(
                "apply definitions.jsonl --config fleet.toml --local",
                (r"3 failed  1 parked[^\n]*\n\d+ targets  1 halted  \d+ under way",),
            ),
        ),
        _fleet,
        None,
    ),
    "settling": Scene(
        "provisioner apply: replies were lost",
        (Shown(APPLY, ("waiting for the settle time",)),),
        _unanswered,
        Behaviour(script=("ok", "lost_reply", "ok", "lost_reply")),
    ),
}


class Screen:
    """The lines that stand on a terminal after what was written to it: enough of one for progress and results."""

    def __init__(self) -> None:
        self.lines = [""]
        self._row = 0

    def feed(self, written: str) -> None:
        """Write to it."""
        start = 0
        for move in [*MOVES.finditer(written), None]:
            self.lines[self._row] += written[start : move.start() if move else None]
            if move is None:
                return
            start, text = move.end(), move.group()
            if text.endswith("A"):
                self._row = max(0, self._row - int(move.group(1) or 1))
            elif text == "\n":
                self._row += 1
                self.lines += [""] * (self._row + 1 - len(self.lines))
            elif text.endswith("2K"):
                self.lines[self._row] = ""


def states(written: str) -> Iterator[list[str]]:
    """What stood on the terminal before each frame of progress, and at the end."""
    screen = Screen()
    first, *frames = written.split(FRAME)
    screen.feed(first)
    for frame in frames:
        yield screen.lines[:]
        screen.feed(FRAME + frame)
    yield screen.lines


def in_terminal(line: str, folder: Path, **variables: str) -> str:
    """All that a command writes to a terminal of its own."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    given = command(*shlex.split(line), cwd=folder, **{"TERM": "xterm-256color", **variables})
    run = Process(given, stdin=end, stdout=end, stderr=end)
    os.close(end)
    written = read_terminal(terminal)
    os.close(terminal)
    run.wait(LIMIT_S)
    return written.decode()


def played(scene: Scene, folder: Path, *, whole: bool) -> list[str]:
    """The lines of a picture, with colors."""
    lines: list[str] = []
    with running(scene.behaviour or Behaviour()) as emulator:
        scene.prepare(folder, Endpoint(emulator.url), whole)
        variables = {"PROVISIONER_ENDPOINT_URL": emulator.url} if scene.behaviour else {}
        for shown in scene.commands:
            lines.append(f"$ provisioner {shown.line}")
            written = in_terminal(shown.line, folder, **variables)
            found = [*states(written.replace(f"{folder}", HOME))]
            before: list[str] = []
            for state in [*(_at(moment, found) for moment in shown.moments), found[-1]]:
                lines += [line for line in state if plain(line).strip() and line not in before]
                before = state
    return lines


def _at(moment: str, states: list[list[str]]) -> list[str]:
    """The state in the middle of those that show ``moment``."""
    matching = [state for state in states if re.search(moment, plain("\n".join(state)))]
    assert matching, f"the terminal never showed {moment!r}: {states[-1]}"
    return matching[len(matching) // 2]


def plain(text: str) -> str:
    """``text`` without colors."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def normalized(line: str) -> str:
    """``line`` with what differs from run to run taken out: figures, ids, and what a quick run may not show."""
    line = re.sub(r"━+[╸╺]?━*|[╸╺]━*", "━", plain(line).replace("\xa0", " "))
    line = re.sub(r"\b[0-9a-f]{16}\b", "ID", line)
    line = re.sub(r"\d+(\.\d+)?", "0", line)
    line = re.sub(r"  (0 throttled|0 in flight|ETA 0:0|0 reading|0 done|0:0)(?=  |$)| of 0/s", "", line)
    return re.sub(r"\s+", " ", line).strip()


def drawn(lines: list[str], title: str) -> str:
    """The picture: an SVG of a terminal."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, color_system="truecolor", force_terminal=True)
        for line in lines:
            text = Text(line, style="bold") if line.startswith("$ ") else Text.from_ansi(line)
            console.print(text, soft_wrap=False, overflow="crop", no_wrap=True)
        return console.export_svg(title=title, unique_id="terminal")


def text_of(picture: str) -> list[str]:
    """The lines of text in a picture."""
    rows: dict[float, list[tuple[float, str]]] = defaultdict(list)
    for one in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text"):  # noqa: S314  our own picture
        if "-title" not in one.get("class", ""):
            rows[float(one.get("y", "0"))].append((float(one.get("x", "0")), one.text or ""))
    return ["".join(text for _, text in sorted(rows[y])).rstrip() for y in sorted(rows)]


def path_of(name: str) -> Path:
    """Where a picture is."""
    return ROOT / "docs" / "pictures" / f"{name}.svg"


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main(names: list[str]) -> None:
    """Draw the pictures with these names, or all."""
    path_of("x").parent.mkdir(exist_ok=True)
    for name, scene in SCENES.items():
        if not names or name in names:
            with _folder() as folder:
                path_of(name).write_text(drawn(played(scene, folder, whole=True), scene.title))


if __name__ == "__main__":
    main(sys.argv[1:])
