"""fsCOCO of the FSS-1000 paper."""

from data_builders.fs_coco.fs_coco_dataset_builder import Builder

__all__ = ["Builder"]
