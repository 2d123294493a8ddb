"""What every builder's examples look like, so that one bank and one set of episodes serve all.

An example is one image with a label map. Pixel value 0 is background, 255 is void (undecided), any
other value marks an object; `objects` says which class each of those values is, with the two sizes
that published small-object filters look at (so that a filter never has to open an image).
"""

import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

BACKGROUND, VOID = 0, 255


def features(class_names: list[str] | None) -> tfds.features.FeaturesDict:
    """The features shared by every builder.

    Args:
      class_names: names of all classes of the dataset (every split), without the background. Class
        ids are 1-based: `class_names[0]` has id 1, and id 0 is 'background'. None where only the
        data knows them: the builder sets the `names` of `objects/class_id` when it sees it.
    """
    names = None if class_names is None else ["background", *class_names]
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
            "image_id": tfds.features.Text(),
            "objects": tfds.features.Sequence(
                {
                    "class_id": tfds.features.ClassLabel(names=names),
                    "value": np.int32,
                    "area": np.int32,
                    "lattice_hits": np.int32,
                }
            ),
        }
    )


def lattice_hits(mask: np.ndarray) -> int:
    """Counts the points of OSLSM's stride-32 lattice that fall on a mask.

    The released loader keeps an item if this is at least 3: it pads the mask by 15, then shrinks it
    32 times by nearest neighbor, which samples the original coordinate 32 i + 0.5. The tie goes to
    32 i + 1, with which the published items come out exactly (data_builders/pascal_5i/README.md).

    Args:
      mask: bool [H, W].
    """
    return int(np.count_nonzero(mask[1::32, 1::32]))


def objects(label: np.ndarray, class_of_value: dict[int, int]) -> list[dict[str, int]]:
    """The `objects` feature of a label map: the listed values that are present, by class id.

    Args:
      label: uint8 [H, W] label map.
      class_of_value: the class id that each label value stands for.
    """
    found = []
    for value, class_id in sorted(class_of_value.items(), key=lambda pair: pair[1]):
        mask = label == value
        area = int(np.count_nonzero(mask))
        if area:
            hits = lattice_hits(mask)
            found.append({"class_id": class_id, "value": value, "area": area, "lattice_hits": hits})
    return found


def png(array: np.ndarray) -> io.BytesIO:
    """A uint8 array as PNG in memory (TFDS needs TensorFlow to encode arrays itself)."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    buffer.seek(0)
    return buffer
