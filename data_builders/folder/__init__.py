"""Anybody's own classes: a folder of class folders with images and masks."""

from data_builders.folder.folder_dataset_builder import Builder

__all__ = ["Builder"]
