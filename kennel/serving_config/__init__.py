"""TensorFlow Serving's files, computed from a device, a batch size and a budget."""
