"""Settings of access: API keys, rates, proxies, hosts, origins, body timeout.

Keys and rates are off by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from limits import RateLimitItem

from models.environment import read_integer, read_seconds
from service.auth.keys import read_rate_variable
from service.auth.origins import read_allowed_hosts, read_cors_origins


@dataclass(frozen=True)
class AuthSettings:
    """Settings of access to the service.

    Attributes:
        api_keys_file: None: every client that reaches the service may use it.
        rate_limit: for keys that have no rate of their own; None: no limit.
        anonymous_rate_limit: for each client address, where the service needs no keys.
        trusted_proxies: how many proxies in front of the service set X-Forwarded-For and -Proto.
        allowed_hosts: hosts that a request may name, beside loopback and HOST.
        cors_origins: other origins whose web pages may use the service.
        body_timeout_seconds: longest pause of a client that sends its request or reads
            its answer.
    """

    api_keys_file: Path | None = None
    rate_limit: RateLimitItem | None = None
    anonymous_rate_limit: RateLimitItem | None = None
    trusted_proxies: int = 0
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    body_timeout_seconds: float = 30.0

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read API_KEYS_FILE, RATE_LIMIT and so on; an empty variable counts as unset.

        Raises:
            InvalidRequestError: a value cannot be used; the message names the variable.
        """
        keys_file = env.get("API_KEYS_FILE")
        return cls(
            api_keys_file=Path(keys_file).absolute() if keys_file else None,
            rate_limit=read_rate_variable(env, "RATE_LIMIT"),
            anonymous_rate_limit=read_rate_variable(env, "ANONYMOUS_RATE_LIMIT"),
            trusted_proxies=read_integer(
                env, "TRUSTED_PROXIES", cls.trusted_proxies, (0, 16)
            ),
            allowed_hosts=read_allowed_hosts(env),
            cors_origins=read_cors_origins(env),
            body_timeout_seconds=read_seconds(
                env, "BODY_TIMEOUT_SECONDS", cls.body_timeout_seconds, (0.1, 600.0)
            ),
        )
