"""Where photos are read from and results copied to: local folders and object storage."""
