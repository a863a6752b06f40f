"""Files that hold secrets: readable by their owner and group, by nobody else."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kennel.doctor.deployment import Deployment
from kennel.doctor.finding import Finding, fail, ok, warn

_OTHERS_WRITE: Final = 0o002
_OTHERS_READ: Final = 0o004


def check_secrets(deployment: Deployment) -> Iterator[Finding]:
    """The modes of all secret files that are there."""
    found = [each for each in _files(deployment) if each.is_file()]
    for path in found:
        yield _mode(path)
    if not found:
        yield ok("files", "there are none")


def _files(deployment: Deployment) -> Iterator[Path]:
    redis = deployment.home.home / "redis"
    yield from (redis / "password", redis / "redis.conf")
    keys = deployment.service.protection.api_keys_file
    yield keys or deployment.home.home / "api-keys"
    yield Path(".env").absolute()
    kaggle = Path(deployment.env.get("KAGGLE_CONFIG_DIR") or "~/.kaggle")
    yield kaggle.expanduser() / "kaggle.json"


def _mode(path: Path) -> Finding:
    mode = stat.S_IMODE(path.stat().st_mode)
    seen, remedy = f"mode {mode:o}", f"chmod o= {path}"
    if mode & _OTHERS_WRITE:
        return fail(str(path), f"{seen}: every user may change it", remedy)
    if mode & _OTHERS_READ:
        return warn(str(path), f"{seen}: every user may read it", remedy)
    return ok(str(path), seen)
