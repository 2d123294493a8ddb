"""Color squares on noise, as arrays and as the files that a user has."""

from pathlib import Path

import numpy as np
from PIL import Image


def square(seed: int, height: int = 40, width: int = 36) -> tuple[np.ndarray, np.ndarray]:
    """An image (uint8 [h, w, 3]) and the mask (bool [h, w]) of its red square."""
    rng = np.random.default_rng(seed)
    image = rng.integers(90, 140, (height, width, 3)).astype(np.uint8)
    mask = np.zeros((height, width), bool)
    top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
    mask[top : top + height // 3, left : left + width // 3] = True
    image[mask] = (220, 40, 40)
    return image, mask


def pairs(count: int, first: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    images, masks = zip(*(square(seed) for seed in range(first, first + count)), strict=True)
    return list(images), list(masks)


def write_support(folder: Path, count: int = 2) -> Path:
    """FOLDER/image/N.png and FOLDER/label/N.png, as in the FSS-1000 release."""
    for seed in range(count):
        image, mask = square(seed)
        for kind, array in (("image", image), ("label", mask)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / kind / f"{seed}.png")
    return folder


def write_images(folder: Path, count: int = 5) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        Image.fromarray(square(100 + seed, 50 + seed, 70 - seed)[0]).save(folder / f"{seed}.png")
    return folder
