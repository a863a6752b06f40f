"""From a split and a recipe to a finished training run."""
