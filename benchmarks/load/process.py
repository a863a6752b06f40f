"""A load in a process of its own, which the benchmark's own Python cannot slow down."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

from benchmarks.load.outcome import LoadResult


@dataclass(frozen=True)
class Target:
    """Where photos are posted to, and whether as a multipart form."""

    url: str
    form: bool = False

    def clients(self, clients: int, seconds: float) -> LoadResult:
        """What *clients* saw that post without a pause; all must get a 200."""
        result = self._run("--clients", str(clients), "--seconds", str(seconds))
        if set(result.statuses) != {200}:
            raise SystemExit(f"{self.url} answered {result.statuses}, not only 200")
        return result

    def rate(self, rate: float, seconds: float) -> LoadResult:
        """What *rate* requests a second saw, at fixed times."""
        return self._run("--rate", str(rate), "--seconds", str(seconds))

    def independent(self, rate: float, seconds: float) -> LoadResult:
        """The same at random times, those of `arrivals.random_arrivals`."""
        arguments = ("--rate", str(rate), "--seconds", str(seconds))
        return self._run(*arguments, "--independent")

    def _run(self, *arguments: str) -> LoadResult:
        command = [sys.executable, "-m", "benchmarks.load", self.url, *arguments]
        if self.form:
            command.append("--form")
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return LoadResult.from_json(done.stdout)
