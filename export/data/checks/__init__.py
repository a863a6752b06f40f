"""What can be wrong with labelled photos before anything is trained on them."""
