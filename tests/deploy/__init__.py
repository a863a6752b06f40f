"""The container side: what compose and the Dockerfiles promise, without an engine."""
