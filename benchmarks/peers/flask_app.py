"""Plain Flask: every request asks the network by itself."""

from __future__ import annotations

from typing import Any

from flask import Flask, request

from benchmarks.peers.work import decode, load_network


def create() -> Flask:
    app = Flask(__name__)
    network = load_network()

    @app.post("/predict")
    def predict() -> dict[str, Any]:
        pixels = decode(request.files["image"].read())
        return {"probabilities": network(pixels[None])[0].tolist()}

    return app
