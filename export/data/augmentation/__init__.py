"""Training photos varied at random, never validation or test photos."""
