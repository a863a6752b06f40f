"""Metrics, log lines, traces and health of the service."""
