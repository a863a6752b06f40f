"""Starts an engine in a process of its own, asks it, and ends it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from models.probabilities import Probabilities

OWN_PYTHON: Final = Path(sys.executable)
ENGINES_PYTHON: Final = Path(".venv-engines/bin/python").absolute()


class EngineError(Exception):
    """The engine cannot be started, or ended by itself; the message has its last words."""


@dataclass(frozen=True)
class EngineModel:
    """An engine's name in `engine.LOADERS`, its interpreter, and its model."""

    engine: str
    python: Path
    model: Path


@dataclass(frozen=True)
class EngineInputs:
    """What all engines get: test and calibration photos as .npy files, and threads."""

    photos: Path
    calibration: Path
    threads: int


class Engine:
    """A running engine, which computes only while it is asked."""

    def __init__(self, process: subprocess.Popen[str], log: Path, folder: Path) -> None:
        self._process = process
        self._log = log
        self._folder = folder

    def wait_until_ready(self) -> None:
        """Wait for model and calibration.

        Raises:
            EngineError: the engine is not installed, or cannot load the model.
        """
        self._read_answer()

    def images_per_second(self, batch_size: int) -> float:
        return float(self._ask(f"speed {batch_size}"))

    def probabilities(self) -> Probabilities:
        """The probabilities [N, K] of all photos."""
        answer = self._ask(f"answer {self._folder / 'probabilities.npy'}")
        return np.asarray(np.load(answer), np.float64)

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._read_answer()

    def _read_answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        if not answer:
            said = self._log.read_text(errors="replace").strip().splitlines()
            raise EngineError(said[-1] if said else "it ended without a message")
        return answer


@contextmanager
def running_engine(model: EngineModel, inputs: EngineInputs) -> Iterator[Engine]:
    """The engine with that *model*, ready.

    Raises:
        EngineError: as `Engine.wait_until_ready`.
    """
    files = (model.model, inputs.photos, inputs.calibration)
    arguments = [model.engine, *map(str, files), str(inputs.threads)]
    with tempfile.TemporaryDirectory(prefix="kennel-engine-") as folder:
        log = Path(folder) / "log"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [str(model.python), "-m", "benchmarks.engines.engine", *arguments],
                # NNCF and OpenVINO send no usage figures in CI.
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CI": "true"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        try:
            engine = Engine(process, log, Path(folder))
            engine.wait_until_ready()
            yield engine
        finally:
            process.kill()
            process.communicate()
