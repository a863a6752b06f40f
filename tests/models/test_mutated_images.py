"""Five thousand damaged files: pixels or a known refusal, no crash and no hang."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.models.mutations import PIXELS

FILES = 5000
KNOWN = {
    PIXELS,
    "undecodable_image",
    "unsupported_image",
    "too_many_pixels",
    "too_complex",
    "empty_image",
}


def test_damaged_files_are_decoded_or_refused_never_more() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.models.mutations", "0", str(FILES)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    lines = run.stdout.splitlines()
    assert run.returncode == 0, f"ended at file {lines[-1:]}: {run.stderr[-2000:]}"
    outcomes = Counter(line.split()[1] for line in lines)
    assert set(outcomes) <= KNOWN
    assert sum(outcomes.values()) == FILES
    assert outcomes[PIXELS] > FILES / 20
    assert outcomes["undecodable_image"] > FILES / 20
