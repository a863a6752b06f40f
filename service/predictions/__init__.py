"""Images in, labels and probabilities out: POST /v1/predict."""
