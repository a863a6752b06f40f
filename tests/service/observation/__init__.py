"""Tests of what ops teams see."""
