"""The embedded dataset: glyphs as objects, rendered at prepare time, with FSS-1000's shape."""

from data_builders.fss_glyphs.fss_glyphs_dataset_builder import Builder

__all__ = ["Builder"]
