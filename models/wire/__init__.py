"""The wire to a model server: messages, tensors, the gRPC client, configuration."""
