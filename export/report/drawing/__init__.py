"""How the report draws: markup, pictures, colours, charts."""
