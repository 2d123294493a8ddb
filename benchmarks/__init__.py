"""Measured speed: `python -m benchmarks.episodes`, peer, data, scaling, profile, startup."""
