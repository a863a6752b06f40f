"""Tests of folder jobs: real Redis, real worker processes, real faults."""
