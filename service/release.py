"""Which release of Kennel this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def release() -> str:
    """The installed version; "unknown" where the code was only copied, as in images."""
    try:
        return version("kennel")
    except PackageNotFoundError:
        return "unknown"
