"""Commands in the README and the docs exist, with the options used there."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from kennel.cli import main
from tests.readme import SECOND_TERMINAL, read_blocks

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
)

_FENCED = re.compile(r"```\w*\n(.*?)```", re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_COMMAND = re.compile(
    r"(?:^|[;&|(]\s*|\$ )(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?((?:kennel|make|python -m) [^#;&|\n]*)"
)


def _commands(page: Path) -> Iterator[str]:
    text = page.read_text(encoding="utf-8")
    for block in _FENCED.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            yield from _COMMAND.findall(line.strip())
    for code in _INLINE.findall(_FENCED.sub("", text)):
        yield from _COMMAND.findall(code)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a quote that the pattern cut off
        return command.split()


def _fault(command: str) -> str | None:
    program, *words = _words(command)
    if program == "python":
        return None if find_spec(words[1]) else f"no module {words[1]}"
    if program == "make":
        targets = re.findall(
            r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE
        )
        wanted = [word for word in words if re.fullmatch("[a-z]+", word)]
        return next((f"no target {x}" for x in wanted if x not in targets), None)
    return _kennel_fault(words)


def _kennel_fault(words: list[str]) -> str | None:
    found: click.Command = main
    for word in words:
        if not isinstance(found, click.Group):
            break
        if word.startswith("-"):
            continue
        inner = found.get_command(click.Context(found), word)
        if inner is None:
            # A name in capitals, or "..." stands for something else.
            return f"no command {word}" if re.fullmatch("[a-z-]+", word) else None
        found = inner
    known = {"--help", "-h", "--version"}.union(
        *(each.opts + each.secondary_opts for each in found.params)
    )
    given = [word.partition("=")[0] for word in words if re.match("--?[a-z]", word)]
    return next((f"no option {each}" for each in given if each not in known), None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_exist(page: Path) -> None:
    faults = {each: _fault(each) for each in _commands(page)}

    assert {each: fault for each, fault in faults.items() if fault} == {}


def test_the_check_sees_commands_and_faults() -> None:
    assert sum(1 for page in PAGES for _ in _commands(page)) > 50
    assert _fault("kennel submit test --no-such-option") == "no option --no-such-option"
    assert _fault("kennel nothing") == "no command nothing"
    assert _fault("make nothing") == "no target nothing"
    assert _fault("python -m benchmarks.nothing") == "no module benchmarks.nothing"
    assert _fault("kennel jobs list --json") is None


def test_blocks_of_the_readme_can_be_pasted() -> None:
    blocks = read_blocks()
    for block in blocks:
        checked = subprocess.run(
            ["bash", "-n"], input=block.commands, text=True, check=False
        )
        assert checked.returncode == 0, block.commands

    pasted = "".join(each.commands for each in blocks if not each.note)
    bare = re.search("^kennel ", pasted, re.MULTILINE)
    assert bare is not None
    assert pasted.index("bin/activate") < bare.start(), "kennel is not found"
    assert [each.note for each in blocks].count(SECOND_TERMINAL) == 1
