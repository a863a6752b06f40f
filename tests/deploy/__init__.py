"""Tests of deploy: images, compose files, manifests, proxy, Redis; without an engine."""
