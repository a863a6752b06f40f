"""Tests: real protocol, real Redis, images made on the spot."""
