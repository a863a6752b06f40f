"""A model server as a process that can be killed: python -m tests.service.replica PORT."""

from __future__ import annotations

import signal
import sys

from tests.fake_model_server import CARD, FakeModelServer


def main() -> None:
    with FakeModelServer(CARD, port=int(sys.argv[1])):
        signal.pause()


if __name__ == "__main__":
    main()
