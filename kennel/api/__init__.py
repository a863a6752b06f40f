"""What `kennel.client` is made of: the HTTP calls, their errors and their answers."""
