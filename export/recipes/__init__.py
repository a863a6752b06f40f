"""How models are trained, as data: the recipes and what chooses or changes them."""
