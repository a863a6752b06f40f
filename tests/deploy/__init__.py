"""Tests of `deploy` and the compose file."""
