"""What is wrong with this machine or deployment, and the remedy; it changes nothing."""
