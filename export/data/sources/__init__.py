"""What Kaggle and others hand out: folders, zip files, CSV lists and IDX arrays."""
