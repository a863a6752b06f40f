"""What the images hold: base images by digest, requirements, bills of materials."""
