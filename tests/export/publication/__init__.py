"""Tests of what is published and what is served of it."""
