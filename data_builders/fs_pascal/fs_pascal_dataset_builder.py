"""fsPASCAL of the FSS-1000 paper: VOC 2012's segmentation images, one class at a time, 15 + 5."""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow_datasets as tfds

from data_builders import segmentation
from data_builders.counted import Counted
from data_builders.fs_pascal import pairs
from data_builders.pascal_5i import sources


class Builder(tfds.core.GeneratorBasedBuilder):
    """Splits `train` (15 classes) and `test` (5 classes).

    Attributes:
      report: what was found while preparing, a line each.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Either give no folder: VOC 2012 is downloaded. Or give the folder that holds "
        "VOCdevkit/VOC2012 (or is VOC2012), or VOCtrainval_11-May-2012.tar."
    )
    BUILDER_CONFIGS = [
        pairs.Config(
            name=f"fold{fold}",
            description=f"Classes {5 * fold + 1} to {5 * fold + 5} held out.",
            fold=fold,
        )
        for fold in range(4)
    ]
    report: list[str]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=segmentation.features(list(sources.CLASS_NAMES)),
            homepage="https://github.com/HKUSTCV/FSS-1000",
        )

    def _split_generators(self, dl_manager) -> dict[str, Counted]:
        self.report = []
        config = self.builder_config
        pictures = sources.find(dl_manager, with_sbd=False).voc_train_and_val()
        sources.check_present(pictures)
        held_out = range(5 * config.fold + 1, 5 * config.fold + 6)  # OSLSM Table 2
        chosen = pairs.choose([_scene(p) for p in pictures], held_out, config, self.report)
        return {
            split: Counted(self._generate_examples(split, some), sum(len(c) for _, c in some))
            for split, some in chosen.items()
        }

    def _generate_examples(self, split: str, chosen):
        return pairs.examples(split, chosen, self.builder_config.skip_broken, self.report)


def _scene(picture: sources.Picture) -> pairs.Scene:
    label = sources.read_label(picture.label)
    classes = frozenset(np.unique(label).tolist()) - {segmentation.BACKGROUND, segmentation.VOID}
    load = functools.partial(_load, picture)
    return pairs.Scene(picture.image_id, label.shape, classes, load)


def _load(picture: sources.Picture) -> tuple[bytes, Callable[[int], np.ndarray]]:
    label = sources.read_label(picture.label)
    sources.check_image(picture.image, picture.label, label.shape)
    void = np.where(label == segmentation.VOID, np.uint8(segmentation.VOID), np.uint8(0))
    return picture.image.read_bytes(), lambda class_id: np.where(label == class_id, 1, void)
