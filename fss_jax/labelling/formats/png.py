"""Plain masks, 0 and 255: masks/X.png as `label` writes them, masks/CLASS/X.png with several classes."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from data_builders import masks, pairs, pictures
from fss_jax.labelling import annotations, folders
from fss_jax.labelling.annotations import ImageMasks, Object, Told
from fss_jax.labelling.formats import _files
from fss_jax.labelling.formats._files import Finder
from fss_jax.runtime import files

TITLE = "PNG masks"


def recognizes(path: Path) -> bool:
    """Never by itself: any folder of pictures could be one. It is asked for by name."""
    return False


def read(path: Path, told: Told, finder: Finder) -> Iterator[ImageMasks]:
    """One image for each name of a mask; of masks straight in the folder, the class is the folder's."""
    root = path / "masks" if (path / "masks").is_dir() else path
    direct = any(pairs.is_picture(file) for file in root.iterdir())
    place = path if root == path else path.resolve()
    found: dict[str, list[tuple[str, Path]]] = {}
    for file in _files.walk(root):
        if pairs.is_picture(file):
            inner = file.relative_to(root).with_suffix("")
            name = place.name if direct else inner.parts[0]
            stem = inner.as_posix() if direct else Path(*inner.parts[1:]).as_posix()
            found.setdefault(stem, []).append((name, file))
    for stem, some in sorted(found.items()):
        with _files.leaving_out(told, stem, "a mask"):
            things = [Object(name, masks.read_mask(file)) for name, file in some]
            if len({thing.mask.shape for thing in things}) > 1:
                raise ValueError("masks of one image that have different sizes")
            size = things[0].mask.shape
            image = finder.by_stem(some[0][1], stem) if finder.root not in (None, path) else None
            if image is not None and pictures.upright_size(image)[0] != size:
                raise ValueError(f"{image.name} has another size than its mask")
            name = f"{stem}{image.suffix if image else '.jpg'}"
            yield annotations.image_of(name, *size, things, image)._replace(objects=())


def write(place: Path, images: Iterable[ImageMasks], **_) -> None:
    """Writes PLACE/masks/CLASS/X.png. Objects of a class are united: a mask cannot tell them apart."""
    images = list(images)
    names = folders.names({name for image in images for name in image.masks})
    for stem, image in annotations.named(images):
        for name, mask in image.masks.items():
            path = place / "masks" / names[name] / f"{stem}.png"
            with files.atomic(path) as temporary:
                Image.fromarray(mask.astype(np.uint8) * 255).save(temporary, "PNG")
