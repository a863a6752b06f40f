"""Tests of `worker`: real Redis, real worker processes, real faults."""
