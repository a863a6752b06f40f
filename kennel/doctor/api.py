"""The API: reachable, what its own readiness says, and which versions stay away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kennel.api.errors import ApiBusyError, ApiError
from kennel.client import Client
from kennel.doctor.deployment import Deployment
from kennel.doctor.finding import Finding, fail, ok, unknown, warn
from models import VERSION
from models.errors import KennelError
from service.auth.origins import is_loopback
from service.settings import ServiceSettings

_TIMEOUT_SECONDS: Final = 5.0


def check_api(deployment: Deployment) -> Iterator[Finding]:
    """GET /readyz, as a load balancer sees it, and GET /v1/models; who may ask."""
    url = deployment.api_url
    yield _exposure(deployment.service)
    try:
        with Client(url, timeout_seconds=_TIMEOUT_SECONDS, retries=0) as client:
            readiness = client.readiness()
            yield _version(client)
        yield _versions_away(deployment)
    except ApiBusyError as error:
        seen = f"{url} answers {error.status}: it cannot predict now"
        yield fail("ready", seen, f"see model-server, and {url}/readyz")
        return
    except KennelError as error:
        yield fail("ready", str(error), "start it (kennel up), or set KENNEL_URL")
        return
    status = str(readiness.get("status"))
    if status == "ready":
        yield ok("ready", f"{url} is ready")
        return
    parts = readiness.get("parts", {})
    reasons = [str(part.get("detail")) for part in parts.values() if "detail" in part]
    yield warn("ready", f"{url} is {status}: {'; '.join(reasons)}", "see the parts")


def _versions_away(deployment: Deployment) -> Finding:
    """The published versions that do not answer: the API has seen for how long."""
    url, key = deployment.api_url, deployment.env.get("KENNEL_API_KEY")
    try:
        with Client(
            url, api_key=key, timeout_seconds=_TIMEOUT_SECONDS, retries=0
        ) as client:
            problems = [
                f"{model['name']} {version['problem']}"
                for model in client.models()
                for version in model["versions"]
                if "problem" in version
            ]
    except (KennelError, KeyError, TypeError) as error:
        return unknown("versions", str(error), "set KENNEL_API_KEY; see model-server")
    if problems:
        remedy = "export it again, or move its folder away; see model-server"
        return warn("versions", "; ".join(problems), remedy)
    return ok("versions", "none of them stays away")


def _exposure(service: ServiceSettings) -> Finding:
    if service.protection.api_keys_file is not None:
        return ok("exposure", "API keys are asked for")
    if is_loopback(service.host):
        return ok("exposure", f"open, but only to this machine (HOST={service.host})")
    seen = f"open to whoever reaches HOST={service.host}: no API_KEYS_FILE"
    return warn("exposure", seen, "kennel keys add NAME, then set API_KEYS_FILE")


def _version(client: Client) -> Finding:
    try:
        found = client.version()
    except ApiError as error:
        if error.code == "misdirected_request":
            return fail("version", str(error), "set ALLOWED_HOSTS where the API runs")
        return unknown("version", str(error), "see ready")
    except (KennelError, KeyError, TypeError) as error:
        return unknown("version", str(error), "see ready")
    if found != VERSION:
        remedy = "finish the upgrade: docker compose up -d --build"
        return warn("version", f"the API runs {found}, this is {VERSION}", remedy)
    return ok("version", f"the API runs {found}, as this does")
