"""Runs the README's commands as a new user would, block by block.

``python -m tests.readme`` needs a fresh clone and a package index. It runs each ``sh``
block in one bash, unless a comment before the block says otherwise::

    <!-- second terminal -->   runs beside the others, until the end
    <!-- not run: REASON -->   is not run

The demo takes 400 photos (QUICK=1), and ``make test`` is left out: it would run itself.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

import click

README: Final = Path(__file__).resolve().parents[1] / "README.md"
READY: Final = "http://127.0.0.1:8000/readyz"
READY_SECONDS: Final = 180
SECOND_TERMINAL: Final = "second terminal"
LEFT_OUT: Final = ("make test",)

_BLOCK: Final = re.compile(r"(?:<!-- (.+?) -->\n)?```sh\n(.*?)```", re.DOTALL)
_DONE: Final = "block done"


@dataclass(frozen=True)
class Block:
    """One ``sh`` block of a page: its commands, and how they are run."""

    commands: str
    note: str = ""

    @property
    def is_run(self) -> bool:
        """Whether it can be run anywhere."""
        return not self.note.startswith("not run")


def read_blocks(page: Path = README) -> list[Block]:
    """The blocks of *page* whose language is ``sh``, in order."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [Block(commands, note) for note, commands in found]


def main() -> int:
    """Run the README; the exit status is that of the command that failed."""
    environment = {**os.environ, "QUICK": "1"}
    beside: list[subprocess.Popen[bytes]] = []
    with subprocess.Popen(
        ["bash", "-e"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as terminal:
        try:
            for block in filter(lambda each: each.is_run, read_blocks()):
                if block.note == SECOND_TERMINAL:
                    beside.append(_start(block, environment))
                elif not _paste(block, terminal):
                    break
            cast("IO[bytes]", terminal.stdin).close()
            return terminal.wait()
        finally:
            for process in beside:
                process.send_signal(signal.SIGINT)
                process.wait(60)


def _start(block: Block, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    click.echo(f"--- second terminal ---\n{block.commands}")
    # exec: Ctrl-C goes to the command, not to a shell around it.
    command = block.commands.partition("#")[0].strip()
    assignments = r"((?:\w+=\S+ )*)"
    started = re.sub(rf"^{assignments}", r"\1exec ", command)
    process = subprocess.Popen(["bash", "-c", started], env=environment)
    until = time.monotonic() + READY_SECONDS
    while not _is_ready():
        if process.poll() is not None or time.monotonic() > until:
            sys.exit(f"not ready after {READY_SECONDS} s: {command}")
        time.sleep(0.5)
    return process


def _is_ready() -> bool:
    try:
        with urllib.request.urlopen(READY, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _paste(block: Block, terminal: subprocess.Popen[bytes]) -> bool:
    kept = [line for line in block.commands.splitlines() if not _is_left_out(line)]
    click.echo("\n".join(["---", *kept]))
    keys = cast("IO[bytes]", terminal.stdin)
    keys.write("\n".join([*kept, f"echo; echo {_DONE}", ""]).encode())
    keys.flush()
    for line in _lines(terminal):
        if line == _DONE:
            return True
        click.echo(line)
    return False


def _lines(terminal: subprocess.Popen[bytes]) -> Iterator[str]:
    for line in cast("IO[bytes]", terminal.stdout):
        yield line.decode(errors="replace").rstrip("\n")


def _is_left_out(line: str) -> bool:
    return line.partition("#")[0].strip() in LEFT_OUT


if __name__ == "__main__":
    sys.exit(main())
