"""The report's sections: each takes the content, and is empty without its input."""
