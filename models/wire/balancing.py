"""Several model servers behind one address: whose turn it is, and what is tried again.

gRPC does both. It learns the servers from the name's addresses and asks for them again
whenever a connection ends; a server that is added later is found when an old one closes
a connection, which TensorFlow Serving does with
``--grpc_channel_arguments=grpc.max_connection_age_ms=...``.
"""

from __future__ import annotations

import json
from typing import Any, Final

from models.contract import MAX_MESSAGE_BYTES

TRIES: Final = 3

_SERVICE_CONFIG: Final[dict[str, Any]] = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            # Every method: none of them changes anything.
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": TRIES,
                # The last try is 0.24 s (by gRPC's jitter) or more after the first one,
                # and a connection is tried again after at most 0.12 s.
                "initialBackoff": "0.1s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                # A server that goes away, or whose batching queue is full. Never
                # RESOURCE_EXHAUSTED or a deadline: more calls make those worse.
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    # One server that dies breaks all calls under way, so many are tried again at once;
    # while a tenth or more of all calls fail for long, none is.
    "retryThrottling": {"maxTokens": 200, "tokenRatio": 0.1},
}

BALANCING_OPTIONS: Final = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # A call that outgrows it is never tried again, and gRPC's default is two images.
    ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
    # gRPC's default is half a minute, in which a server's successor is not found.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # A machine that vanishes closes no connection: what it does not acknowledge for
    # this long ends as unavailable (TCP_USER_TIMEOUT, which comes with keepalive).
    ("grpc.keepalive_timeout_ms", 5000),
    # More often, and TensorFlow Serving hangs up (grpc's doc/keepalive.md).
    ("grpc.keepalive_time_ms", 300_000),
)
"""Options of a channel."""
