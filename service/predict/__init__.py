"""Images in, predictions and explanations out; the models that give them."""
