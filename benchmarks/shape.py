"""The shape of the code: modules, lines, functions, and files that three walks execute.

`python -m benchmarks.shape`: a mirror, not a gate. The three walks run for real, a photo to
JSON, a folder to CSV, `kennel train`, with a hook in every process that notes each product
file of which a function is called (what runs while modules are imported does not count).
"""

from __future__ import annotations

import ast
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from benchmarks.harness.photos import SMALL, camera_jpeg, link_folder
from benchmarks.harness.stack import publish_trivial_model, running_stack
from kennel.client import Client

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = ("models", "export", "service", "worker", "kennel")

HOOK: Final = """
import mmap, os, sys, threading

root, out = os.environ["SHAPE_ROOT"], os.environ["SHAPE_OUT"]
walk = mmap.mmap(os.open(out + "/walk", os.O_RDWR), 1)
packages = tuple(f"{root}/{name}/" for name in os.environ["SHAPE_PACKAGES"].split())
seen = set()


def trace(frame, event, argument):
    key = (walk[0], frame.f_code.co_filename)
    if key not in seen and key[1].startswith(packages) and not importing(frame):
        seen.add(key)
        api = any(word.startswith("service.") for word in sys.orig_argv)
        part = "service" if api else "other"
        line = f"{key[0]} {part} {os.path.relpath(key[1], root)}\\n".encode()
        file = os.open(out + "/calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line)
        os.close(file)


def importing(frame):
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals["__name__"] != "__main__":
            return True
        frame = frame.f_back
    return False


sys.settrace(trace)
threading.settrace(trace)
"""
"""The text of sitecustomize.py, which Python runs when it starts."""


@click.command()
@click.option("--walks/--no-walks", default=True, help="Run the three jobs as well.")
@click.option("--files", is_flag=True, help="Name the files of each walk.")
def main(walks: bool, files: bool) -> None:
    """Print the shape of each package, of all, and the length of the three walks."""
    modules = [Module.read(path) for path in _product_files()]
    click.echo("package  modules  lines  mean  one importer  largest folder")
    for package in (*PACKAGES, "all"):
        own = [each for each in modules if package in ("all", each.package)]
        _print_package(package, own, modules)
    lengths = [length for module in modules for length in module.functions]
    p90 = statistics.quantiles(lengths, n=10)[-1]
    click.echo(f"functions: median {statistics.median(lengths)} lines, p90 {p90:.0f}")
    if walks:
        for walk, passed in _walks().items():
            click.echo(f"{walk}: {len(passed)} files")
            if files:
                click.echo(textwrap.indent("\n".join(sorted(passed)), "  "))


@dataclass(frozen=True)
class Module:
    """A product module.

    Attributes:
        imports: names of the modules that it imports anywhere.
        functions: lines of each function, docstring not counted.
    """

    path: Path
    lines: int
    imports: frozenset[str]
    functions: tuple[int, ...]

    @classmethod
    def read(cls, path: Path) -> Module:
        text = path.read_text()
        nodes = list(ast.walk(ast.parse(text)))
        imports = {
            name
            for node in nodes
            if isinstance(node, ast.ImportFrom) and node.module
            for name in (node.module, *(f"{node.module}.{a.name}" for a in node.names))
        }
        functions = (_length(n) for n in nodes if isinstance(n, ast.FunctionDef))
        return cls(path, text.count("\n"), frozenset(imports), tuple(functions))

    @property
    def package(self) -> str:
        return self.path.relative_to(ROOT).parts[0]

    @property
    def name(self) -> str:
        return ".".join(self.path.relative_to(ROOT).with_suffix("").parts)


def _product_files() -> Iterator[Path]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name != "__init__.py" or path.read_text().count("\n") > 5:
                yield path


def _length(function: ast.FunctionDef) -> int:
    first = function.body[0]
    end = function.end_lineno or function.lineno
    documented = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return end - function.lineno + 1 - docstring


def _print_package(package: str, own: list[Module], modules: list[Module]) -> None:
    importers = Counter(name for module in modules for name in module.imports)
    lonely = sum(importers[module.name] == 1 for module in own)
    entries: defaultdict[Path, set[str]] = defaultdict(set)
    for module in own:
        parts = module.path.relative_to(ROOT).parts
        for depth in range(1, len(parts)):
            entries[Path(*parts[:depth])].add(parts[depth])
    folder, largest = max(entries.items(), key=lambda item: len(item[1]))
    lines = sum(module.lines for module in own)
    click.echo(
        f"{package:8} {len(own):7} {lines:6} {lines / len(own):5.0f} {lonely:13}  "
        f"{folder} ({len(largest)})"
    )


def _walks() -> dict[str, set[str]]:
    with tempfile.TemporaryDirectory(prefix="kennel-shape-") as folder:
        out = Path(folder)
        with _hooked(out) as walk:
            photos = out / "data" / "photos"
            link_folder(photos, 8, SMALL)
            _train(out, walk)
            publish_trivial_model(out / "models")
            with running_stack(out / "data", 1, out / "models") as stack:
                client = Client(stack.url)
                photo = [next(photos.iterdir())]
                client.predict(photo)
                walk[0] = 1
                client.predict(photo)
                walk[0] = 2
                job = client.submit("photos")
                client.wait(job.id)
                client.submission(job.id)
                walk[0] = 0
        calls = [line.split() for line in (out / "calls").read_text().splitlines()]
    return {
        "photo to JSON": {
            f for walk, part, f in calls if (walk, part) == ("1", "service")
        },
        "folder to CSV": {f for walk, _, f in calls if walk == "2"},
        "kennel train": {f for walk, _, f in calls if walk == "3"},
    }


@contextmanager
def _hooked(out: Path) -> Iterator[mmap.mmap]:
    """Record in *out* the product files that child processes execute."""
    (out / "walk").write_bytes(b"\0")
    (out / "hook").mkdir()
    (out / "hook" / "sitecustomize.py").write_text(HOOK)
    os.environ |= {
        "SHAPE_ROOT": str(ROOT),
        "SHAPE_OUT": str(out),
        "SHAPE_PACKAGES": " ".join(PACKAGES),
        "PYTHONPATH": f"{out}/hook:{ROOT}",
    }
    with (out / "walk").open("r+b") as file:
        yield mmap.mmap(file.fileno(), 1)


def _train(out: Path, walk: mmap.mmap) -> None:
    for seed, label in enumerate(("cat", "dog")):
        (out / "labelled" / label).mkdir(parents=True)
        for number in range(30):
            photo = camera_jpeg(100 * seed + number, SMALL)
            (out / "labelled" / label / f"{number}.jpg").write_bytes(photo)
    prepared = str(out / "prepared")
    _kennel(out, "prepare", str(out / "labelled"), prepared)
    walk[0] = 3
    _kennel(out, "train", prepared, "--name", "shape", "--recipe", "lenet5")
    walk[0] = 0


def _kennel(out: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "kennel.cli", *arguments]
    env = {**os.environ, "KENNEL_HOME": str(out / "home")}
    subprocess.run(command, env=env, capture_output=True, check=True)


if __name__ == "__main__":
    main()
