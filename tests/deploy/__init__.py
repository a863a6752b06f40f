"""Tests of deploy: images, compose files, manifests, proxy and Redis, without an engine."""
