"""What training and serving must agree on: image, pixels, probability, card, wire."""
