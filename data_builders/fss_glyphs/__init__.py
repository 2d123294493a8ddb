"""The embedded dataset: glyphs as objects, rendered at prepare time, with FSS-1000's shape."""
