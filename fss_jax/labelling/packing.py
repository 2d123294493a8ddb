"""The masks of a whole folder in little memory: run-length codes that are decoded when looked at.

Ten thousand photographs of 4 megapixels are 40 GB as a byte a pixel, and some hundred MB as codes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from fss_jax.labelling.annotations import ImageMasks, Object, from_rle, to_rle


def packed(image: ImageMasks) -> ImageMasks:
    """The same image, whose masks are decoded anew each time that one is asked for."""
    return image._replace(masks=Masks(image.masks), objects=Objects(image.objects))


class Masks(Mapping[str, np.ndarray]):
    """Class names to masks, bool [h, w]."""

    def __init__(self, masks: Mapping[str, np.ndarray]):
        self._codes = {name: to_rle(mask) for name, mask in masks.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        code = self._codes[name]
        return from_rle(code, *code["size"])

    def __iter__(self) -> Iterator[str]:
        return iter(self._codes)

    def __len__(self) -> int:
        return len(self._codes)


class Objects(Sequence[Object]):
    """Objects in their order."""

    def __init__(self, objects: Iterable[Object]):
        self._codes = [(name, to_rle(mask)) for name, mask in objects]

    def __getitem__(self, index: int) -> Object:
        name, code = self._codes[index]
        return Object(name, from_rle(code, *code["size"]))

    def __len__(self) -> int:
        return len(self._codes)
