"""The Keras networks, their pretrained weights, and how they are cut and explained."""
