"""A prepared TFDS dataset as an index: its classes, images and (image, class) items, no pixels yet."""

import dataclasses
import functools
import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from data_builders import text
from fss_jax.data.records import Item
from fss_jax.runtime import files

log = logging.getLogger(__name__)

RAW = {name: tfds.decode.SkipDecoding() for name in ("image", "label")}


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of a dataset.

    Attributes:
      name: e.g. 'pascal_5i/fold1:test'.
      class_names: name of every class id; index 0 is the background.
      image_ids: [N], sorted.
      examples: int [N], position of each image in `source`.
      items: [M] (image id, class id), sorted: the units that episodes draw from.
      item_image: int32 [M], index into `image_ids`.
      item_value: int32 [M], the label-map value that marks the item's class in its image.
      item_area: int32 [M], pixels of the class in the image.
      item_lattice_hits: int32 [M], points of OSLSM's stride-32 lattice on it (protocols.md A.2).
      source: the TFDS data source, which gives undecoded bytes.
      super_categories: names by class id, the first one first, where the dataset has them (FSS-1000's
        twelve, of which a class may have several).
    """

    name: str
    class_names: tuple[str, ...]
    image_ids: tuple[str, ...]
    examples: np.ndarray
    items: tuple[Item, ...]
    item_image: np.ndarray
    item_value: np.ndarray
    item_area: np.ndarray
    item_lattice_hits: np.ndarray
    source: Sequence
    super_categories: dict[int, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def take(self, keep: np.ndarray) -> "Split":
        """The same images with only the items `keep` (indices, in the order wanted)."""
        return dataclasses.replace(
            self,
            items=tuple(self.items[i] for i in keep),
            item_image=self.item_image[keep],
            item_value=self.item_value[keep],
            item_area=self.item_area[keep],
            item_lattice_hits=self.item_lattice_hits[keep],
        )

    def without_small(self, min_area: int = 0, min_lattice_hits: int = 0) -> "Split":
        """Drops items whose object is too small for a protocol."""
        keep = (self.item_area >= min_area) & (self.item_lattice_hits >= min_lattice_hits)
        return self if keep.all() else self.take(np.flatnonzero(keep))

    def without_rare(self, needed: int) -> "Split":
        """Drops the classes that have fewer than `needed` items, and says which.

        For a part of a dataset: a full one's protocol wants all of its classes.
        """
        class_id = np.asarray([class_id for _, class_id in self.items])
        found, count = np.unique(class_id, return_counts=True)
        rare = found[count < needed]
        if not len(rare):
            return self
        names = ", ".join(
            f"{self.class_names[c]} ({n})" for c, n in zip(rare, count[count < needed], strict=True)
        )
        log.warning("%s: left out, having fewer than %d images: %s", self.name, needed, names)
        return self.take(np.flatnonzero(~np.isin(class_id, rare)))

    def with_items(self, path: str | Path) -> "Split":
        """Takes exactly the items of a text file of `IMAGE CLASS` lines, instead of any filter.

        Raises:
          ValueError: a malformed line, or an item that this split does not hold.
        """
        position = {item: i for i, item in enumerate(self.items)}
        keep, missing = [], []
        for number, line in enumerate(text.read(Path(path)).splitlines(), 1):
            fields = line.split()
            if len(fields) != 2 or not fields[1].isdigit():
                raise ValueError(f"{path} line {number} is {line!r}; expected 'IMAGE CLASS'")
            item = (fields[0], int(fields[1]))
            if item in position:
                keep.append(position[item])
            else:
                missing.append(f"{item[0]} {item[1]}")
        if missing or not keep:
            raise ValueError(
                f"{path}: {len(missing)} of {len(missing) + len(keep)} items are not in {self.name}"
                f" (first: {'; '.join(missing[:3])}); prepare the full dataset or mend the list"
            )
        return self.take(np.asarray(keep))

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        """int32 [N, 2]: true (height, width) of each image, read from the headers."""
        return np.asarray([self._size(i) for i in range(len(self.image_ids))], np.int32)

    def _size(self, index: int) -> tuple[int, int]:
        with Image.open(io.BytesIO(self.source[int(self.examples[index])]["image"])) as image:
            return image.height, image.width

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Decodes one image: uint8 RGB [h, w, 3] and uint8 label map [h, w], at the true size."""
        example = self.source[int(self.examples[index])]
        with Image.open(io.BytesIO(example["image"])) as image:
            rgb = np.asarray(image.convert("RGB"))
        with Image.open(io.BytesIO(example["label"])) as label:
            return rgb, np.asarray(label)


def dataset_folder(dataset: str, data_dir: Path) -> Path:
    """The newest prepared version of `NAME[/CONFIG]` under `data_dir`.

    Raises:
      FileNotFoundError: it was never prepared; the message has the command that does.
    """
    prepared = sorted(
        Path(data_dir, dataset).glob("[0-9]*.[0-9]*.[0-9]*/dataset_info.json"),
        key=lambda path: tuple(int(part) for part in path.parent.name.split(".")),
    )
    if not prepared:
        others = sorted(
            str(path.parents[1].relative_to(data_dir))
            for path in Path(data_dir).glob("**/[0-9]*.[0-9]*.[0-9]*/dataset_info.json")
        )
        raise FileNotFoundError(
            f"no prepared dataset {dataset!r} in {data_dir} (found: {', '.join(others) or 'none'}); "
            f"run: fss prepare {dataset} --data_dir {data_dir}"
        )
    return prepared[-1].parent


def has_split(dataset: str, split: str, data_dir: str | Path) -> bool:
    """Whether a prepared dataset has a split; FileNotFoundError as `open_split`."""
    builder = tfds.builder_from_directory(dataset_folder(dataset, files.local(data_dir)))
    return split in builder.info.splits


def open_split(dataset: str, split: str, data_dir: str | Path) -> Split:
    """Opens a prepared dataset's split.

    Args:
      dataset: 'NAME' or 'NAME/CONFIG', as in data_builders.
      split: 'train', 'val' or 'test'.
      data_dir: where `data_builders.prepare` put it.

    Raises:
      FileNotFoundError: the dataset was not prepared.
      ValueError: it has no such split.
    """
    builder = tfds.builder_from_directory(dataset_folder(dataset, files.local(data_dir)))
    if split not in builder.info.splits:
        known = ", ".join(builder.info.splits)
        raise ValueError(f"{dataset} has no split {split!r}; it has: {known}")
    source = builder.as_data_source(split, decoders=RAW)
    features = builder.info.features
    super_feature = features["super_category"] if "super_category" in features else None
    rows, super_categories = [], {}
    for i in range(len(source)):
        example = source[i]
        rows.append((example["image_id"].decode(), i, example["objects"]))
        if super_feature:  # FSS-1000: one class an image
            number = [example["super_category"], *example.get("further_super_categories", ())]
            names = tuple(super_feature.names[int(n)] for n in number)
            super_categories |= {int(c): names for c in example["objects"]["class_id"]}
    rows.sort(key=lambda row: row[0])
    items, columns = [], []
    for n, (image_id, _, found) in enumerate(rows):
        for j in np.argsort(found["class_id"], kind="stable"):
            items.append((image_id, int(found["class_id"][j])))
            columns.append((n, found["value"][j], found["area"][j], found["lattice_hits"][j]))
    table = np.asarray(columns, np.int32).reshape(-1, 4)
    return Split(
        name=f"{dataset}:{split}",
        class_names=tuple(builder.info.features["objects"]["class_id"].names),
        image_ids=tuple(row[0] for row in rows),
        examples=np.asarray([row[1] for row in rows]),
        items=tuple(items),
        item_image=table[:, 0],
        item_value=table[:, 1],
        item_area=table[:, 2],
        item_lattice_hits=table[:, 3],
        source=source,
        super_categories=super_categories,
    )
