"""One stage of training: examples, epochs, checkpoints, and what moved."""
