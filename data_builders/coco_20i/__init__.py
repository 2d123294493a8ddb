"""COCO-20i: COCO 2017 with 20 of its 80 classes held out."""

from data_builders.coco_20i.coco_20i_dataset_builder import Builder

__all__ = ["Builder"]
