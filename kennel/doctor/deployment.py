"""The deployment that the environment describes, and the findings of a check."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from kennel.settings import KennelSettings
from kennel.stack.redis import local_redis_url
from models.errors import InvalidRequestError
from models.logs import LogSettings
from service.settings import ServiceSettings
from service.telemetry.tracing import TracingSettings
from worker.settings import WorkerSettings

PASSED: Final = "ok"
WARNING: Final = "warning"
FAILED: Final = "failed"
UNCHECKED: Final = "unchecked"

LOCAL_API: Final = "http://127.0.0.1:8000"
_OTHERS: Final = {"KENNEL_URL", "KENNEL_API_KEY", "REDIS_PASSWORD"}
_SHORTEST_NAME: Final = 6
"""Shorter names, such as PORT, resemble too many others."""

_SIMILARITY: Final = 0.85
_Settings = TypeVar("_Settings")


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        check: its name, unique in its area.
        verdict: ok, warning, failed, or unchecked: the check could not be made.
        seen: what the check found.
        remedy: what to do about it; "" if the check passed.
    """

    check: str
    verdict: str
    seen: str
    remedy: str = ""


def ok(check: str, seen: str) -> CheckResult:
    """A check that passed."""
    return CheckResult(check, PASSED, seen)


def warn(check: str, seen: str, remedy: str) -> CheckResult:
    """A check that passed, but may fail later or for other users."""
    return CheckResult(check, WARNING, seen, remedy)


def fail(check: str, seen: str, remedy: str) -> CheckResult:
    """A check that failed."""
    return CheckResult(check, FAILED, seen, remedy)


def unknown(check: str, why: str, remedy: str) -> CheckResult:
    """A check that could not be made."""
    return CheckResult(check, UNCHECKED, f"could not be checked: {why}", remedy)


class RecordedVariables(dict[str, str]):
    """A copy of an environment that records which variables settings read.

    Attributes:
        names: the variables that were read, set or not.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        """Start with the variables of *env*."""
        super().__init__(env)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        """The variable *name*; the look-up is recorded."""
        self.names.add(name)
        return super().get(name, default)


@dataclass(frozen=True)
class Deployment:
    """A deployment's settings, and what is wrong with the variables in *env*."""

    env: Mapping[str, str]
    home: KennelSettings
    service: ServiceSettings
    worker: WorkerSettings
    redis_url: str
    api_url: str
    findings: tuple[CheckResult, ...]


def read_deployment(env: Mapping[str, str]) -> Deployment:
    """The deployment that *env* describes; a value that cannot be used counts as unset.

    Without REDIS_URL, Redis is that of the local stack in KENNEL_HOME, if there is one.
    """
    asked = RecordedVariables(env)
    findings: dict[str, CheckResult] = {}
    home = KennelSettings.from_env(asked)
    service = _read(ServiceSettings.from_env, asked, findings)
    worker = _read(WorkerSettings.from_env, asked, findings)
    _read(LogSettings.from_env, asked, findings)
    _read(TracingSettings.from_env, asked, findings)
    for finding in _misspelt(env, asked.names | _OTHERS):
        findings[finding.check] = finding
    local = None if asked.get("REDIS_URL") else local_redis_url(home.home / "redis")
    return Deployment(
        env=env,
        home=home,
        service=service,
        worker=worker,
        redis_url=local or worker.redis_url,
        api_url=env.get("KENNEL_URL") or LOCAL_API,
        findings=tuple(findings.values()),
    )


def check_settings(deployment: Deployment) -> Iterator[CheckResult]:
    """Checks of the variables: unusable values, and names that look misspelt."""
    yield from deployment.findings
    if not deployment.findings:
        yield ok("variables", "all can be used")


def _read(
    read: Callable[[Mapping[str, str]], _Settings],
    asked: RecordedVariables,
    findings: dict[str, CheckResult],
) -> _Settings:
    while True:
        try:
            return read(asked)
        except InvalidRequestError as error:
            # Each message begins with the variable; unset it to find the next one.
            found = re.match(r"[A-Z_]+", str(error))
            if found is None or asked.pop(found.group(), None) is None:
                raise
            remedy = "correct or unset it"
            findings[found.group()] = fail(found.group(), str(error), remedy)


def _misspelt(env: Mapping[str, str], known: set[str]) -> Iterator[CheckResult]:
    names = [name for name in known if len(name) >= _SHORTEST_NAME]
    for name in sorted(set(env) - known):
        similar = difflib.get_close_matches(name.upper(), names, 1, _SIMILARITY)
        if similar and similar[0] not in env:
            seen = f"{name} is set, but not used; {similar[0]} is not set"
            yield warn(name, seen, f"call it {similar[0]}")
