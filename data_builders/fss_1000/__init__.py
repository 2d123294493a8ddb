"""FSS-1000: 1000 classes of ten 224 x 224 images with a mask each (arXiv 1907.12347)."""

from data_builders.fss_1000.fss_1000_dataset_builder import Builder

__all__ = ["Builder"]
