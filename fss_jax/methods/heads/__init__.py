"""Scores of cells by what a support shows, and their combination: no weights, closed forms only."""
