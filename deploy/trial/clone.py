"""The working tree as a clone would have it: what git keeps, and nothing it ignores."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def copy_working_tree(root: Path, destination: Path) -> None:
    """Copy what git tracks, or would, from *root*, as it is now.

    Raises:
        CalledProcessError: *root* is no git working tree.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=root, capture_output=True, check=True)
    for name in filter(None, listing.stdout.decode().split("\0")):
        # A file that was removed and not committed is listed still.
        if (root / name).is_file():
            (destination / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, destination / name)
