"""The local stack: Redis, model server, API and workers on one machine, without containers."""
