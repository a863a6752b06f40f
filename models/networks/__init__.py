"""The Keras networks and the pretrained weights they start from."""
