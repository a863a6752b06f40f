"""The gRPC client of a model server: calls, messages and TensorFlow Serving's files."""
