"""Whether spans are exported with OpenTelemetry, which is an extra and stays out.

Without OTEL_EXPORTER_OTLP_ENDPOINT nothing of it is imported; traces still pass through
(trace_context).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Self

from models.environment import read_flag
from models.errors import InvalidRequestError

if TYPE_CHECKING:
    from service.telemetry.spans import Spans


ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
SERVICE_NAME: Final = "kennel-api"


@dataclass(frozen=True)
class TracingSettings:
    """Where spans go.

    The other variables of OpenTelemetry (headers, sampler, limits) are read by itself.

    Attributes:
        endpoint: base URL of a collector that takes OTLP over HTTP; "": no tracing.
    """

    endpoint: str = ""
    service_name: str = SERVICE_NAME

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read OpenTelemetry's own variables; an empty one counts as unset.

        Raises:
            InvalidRequestError: the endpoint is no URL, or the packages are missing.
        """
        endpoint = env.get(ENDPOINT) or ""
        if not endpoint or read_flag(env, "OTEL_SDK_DISABLED", default=False):
            return cls()
        if not endpoint.startswith(("http://", "https://")):
            message = f"{ENDPOINT}={endpoint!r} is no URL: use http://localhost:4318"
            raise InvalidRequestError(message)
        if not _is_installed():
            message = (
                f"{ENDPOINT} is set, but OpenTelemetry is not installed: "
                "pip install 'kennel[tracing]', or unset the variable"
            )
            raise InvalidRequestError(message)
        return cls(endpoint.rstrip("/"), env.get("OTEL_SERVICE_NAME") or SERVICE_NAME)


def start_spans(settings: TracingSettings) -> Spans | None:
    """What records spans and exports them from a thread; None if that is not wanted."""
    if not settings.endpoint:
        return None
    from service.telemetry.spans import Spans

    return Spans(settings)


def _is_installed() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False
