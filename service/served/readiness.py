"""Whether a model can be asked now."""

from __future__ import annotations

from typing import Final

from models.errors import ModelUnavailableError
from models.wire.messages import AVAILABLE
from service.served.catalog import Catalog

PROBE_SECONDS: Final = 2.0
"""How long those who only ask whether it can be asked are kept waiting."""


def available_versions(
    catalog: Catalog, name: str, timeout_seconds: float
) -> list[int]:
    """The versions of model *name* that answer, newest first, at least one.

    Raises:
        ModelUnavailableError: there is none, or the model server is away.
        ModelContractError: the model server's answer cannot be used.
    """
    versions = catalog.versions(name, timeout_seconds)
    available = [each.version for each in versions if each.state == AVAILABLE]
    if not available:
        states = ", ".join(f"{each.version} {each.state}" for each in versions)
        problems = [each.problem for each in versions if each.problem]
        reasons = "; ".join([states or "none known", *problems])
        message = f"no version of {name!r} is available ({reasons})"
        raise ModelUnavailableError(message)
    return available
