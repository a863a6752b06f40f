"""Content of the images: base images by digest, requirements, bills of materials."""
