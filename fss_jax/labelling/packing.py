"""The masks of a whole folder in little memory: run-length codes that are decoded when looked at.

Ten thousand photographs of 4 megapixels are 40 GB as a byte a pixel, and some hundred MB as codes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from pycocotools import mask as coco_mask

from fss_jax.labelling.annotations import ImageMasks, Object

Code = dict


def packed(image: ImageMasks) -> ImageMasks:
    """The same image, whose masks are decoded anew each time that one is asked for."""
    return image._replace(masks=Masks(image.masks), objects=Objects(image.objects))


class Masks(Mapping[str, np.ndarray]):
    """Class names to masks, bool [h, w]."""

    def __init__(self, masks: Mapping[str, np.ndarray]):
        self._codes = {name: _code(mask) for name, mask in masks.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        return _mask(self._codes[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._codes)

    def __len__(self) -> int:
        return len(self._codes)


class Objects(Sequence[Object]):
    """Objects in their order."""

    def __init__(self, objects: Iterable[Object]):
        self._codes = [(name, _code(mask)) for name, mask in objects]

    def __getitem__(self, index: int) -> Object:
        name, code = self._codes[index]
        return Object(name, _mask(code))

    def __len__(self) -> int:
        return len(self._codes)


def _code(mask: np.ndarray) -> Code:
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))


def _mask(code: Code) -> np.ndarray:
    return coco_mask.decode(code).astype(bool)
