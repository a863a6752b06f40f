"""The composition: the command line, the local stack, the demo."""
