"""PASCAL-5i (OSLSM 5): four folds of five held-out classes of PASCAL VOC 2012."""

from data_builders.pascal_5i.pascal_5i_dataset_builder import Builder

__all__ = ["Builder"]
