"""The HTTP API's client: `from kennel.client import Client`."""

from kennel.client.client import Client

__all__ = ["Client"]
