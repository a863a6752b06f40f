"""Finished runs: listed without waiting for TensorFlow."""

from __future__ import annotations

import subprocess
import sys


def test_runs_are_looked_up_without_tensorflow() -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from export.training.runs import find_run\n"
        "from models.errors import NotFoundError\n"
        "try: find_run('pets', Path('nowhere'))\n"
        "except NotFoundError as error: print(error)\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "no training run 'pets'" in done.stdout
