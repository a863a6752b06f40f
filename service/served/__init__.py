"""What is served: the models, their versions and cards."""
