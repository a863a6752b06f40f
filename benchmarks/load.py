"""Clients that post one photo again and again: `python -m benchmarks.load URL N SECONDS`.

A process of its own, so that the load's Python does not slow the baseline's down. Prints
the seconds of every request as JSON.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

from benchmarks.photos import camera_jpeg

HEADERS = {"Content-Type": "image/jpeg", "X-Request-Timeout-Ms": "25000"}


def measure_clients(url: str, clients: int, seconds: float) -> list[float]:
    """Seconds of each request that *clients*, in a process, had answered."""
    command = [sys.executable, "-m", "benchmarks.load", url, str(clients), str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit("the load was refused")
    taken: list[float] = json.loads(done.stdout)
    return taken


def post_for(url: str, clients: int, seconds: float) -> list[float]:
    """Post from *clients* threads; each starts no request after *seconds*."""
    image = camera_jpeg(1)
    parts = urlsplit(url)
    taken: list[float] = []
    refused: list[str] = []
    deadline = time.perf_counter() + seconds

    def post() -> None:
        connection = http.client.HTTPConnection(parts.netloc)
        while time.perf_counter() < deadline:
            began = time.perf_counter()
            connection.request("POST", f"{parts.path}?{parts.query}", image, HEADERS)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                refused.append(f"{answer.status}: {body[:300]!r}")
                return
            taken.append(time.perf_counter() - began)

    threads = [threading.Thread(target=post) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refused:
        raise SystemExit(f"{len(refused)} clients were refused: {refused[0]}")
    return taken


if __name__ == "__main__":
    print(json.dumps(post_for(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
