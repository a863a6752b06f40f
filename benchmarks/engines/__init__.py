"""Inference engines with the same model, each in a process of its own.

LiteRT and OpenVINO live in `.venv-engines` (`make bench` installs them), apart from
Kennel's dependencies.
"""
