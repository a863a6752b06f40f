"""Tests of deploy, without an engine: images, compose files, manifests, proxy, Redis."""
