"""`kennel rollout`: what it waits for and what it shows."""
