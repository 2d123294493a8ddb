"""fsPASCAL of the FSS-1000 paper."""

from data_builders.fs_pascal.fs_pascal_dataset_builder import Builder

__all__ = ["Builder"]
