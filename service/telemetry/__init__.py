"""Metrics, one log line a request, traces, GET /v1/info."""
