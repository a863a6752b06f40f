"""What ops teams see: metrics, one log line a request, traces, GET /v1/info."""
