"""Floor 0: argument checks, files and optional packages. Knows no model, no picture, no word."""
