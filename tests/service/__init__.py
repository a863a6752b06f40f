"""Tests of `service`: Flask in front of a fake model server over real gRPC."""
