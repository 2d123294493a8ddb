"""What a network finds in given images, pictured (FSS-1000, Figures 10, 11 and S3)."""

import dataclasses
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from fss_jax.data import datasets
from fss_jax.experiments import toy
from fss_jax.experiments.runner import Experiment, Part, Training
from fss_jax.labelling import job, supports
from fss_jax.labelling.pictures import read_image, read_mask
from fss_jax.reports.provenance import provenance, provenance_line
from fss_jax.runtime import files
from fss_jax.studies import conditioning
from fss_jax.studies.conditioning import Panel

log = logging.getLogger(__name__)
COLUMNS = 6
MOST = 120  # pictures of a figure


@dataclasses.dataclass(frozen=True)
class GivenImages(Part):
    """A sheet: the supports of each object, then every image with what is found of it.

    Attributes:
      training: whose network; empty: what labels by default.
      dataset: whose first test class is shown where no folders are given.
      support, images: folders as `fss label` takes them.
      shots: supports taken of the dataset's class.
    """

    training: str
    dataset: str
    support: Path | None = None
    images: Path | None = None
    shots: int = 5

    def run(self, name: str, data_dir: str | Path, workdir: Path) -> str:
        """Draws WORKDIR/NAME.png.

        Raises:
          ValueError, FileNotFoundError: folders or a dataset that cannot be used; one line each.
        """
        segmenter = job.open_segmenter(workdir / self.training if self.training else None)
        shown, pictures = self._given() if self.images else self._of_dataset(data_dir)
        segmenter.set_support(shown)
        rows = []
        for label, (images, masks) in shown.items():
            rows += _rows(
                Panel(
                    read_image(image),
                    read_mask(mask) > 0,
                    label,
                    conditioning.SUPPORT_COLOR,
                    lit=True,
                )
                for image, mask in zip(images, masks, strict=True)
            )
        found = segmenter.predict(list(pictures.values()))
        for label in shown:
            rows += _rows(
                Panel(picture, prediction.masks[label], title, conditioning.PREDICTION_COLOR)
                for (title, picture), prediction in zip(pictures.items(), found, strict=True)
            )
        conditioning.draw(workdir / f"{name}.png", rows)
        facts = {
            "objects": {label: len(images) for label, (images, _) in shown.items()},
            "images": len(pictures),
            "source": str(self.images or self.dataset),
            "training": self.training,
            **provenance(),
        }
        files.write_json(workdir / f"{name}.json", facts)
        said = f"{len(pictures)} images of {facts['source']}, {', '.join(shown)}"
        return f"![what is found]({name}.png)\n\n{said}; {provenance_line(facts)}.\n"

    def shrink(self) -> "GivenImages":
        return dataclasses.replace(self, dataset=toy.DATASET)

    def _given(self) -> tuple[supports.Supports, dict[str, np.ndarray]]:
        shown = supports.read(self.support)
        names = job.find_images(self.images, supports.mask_files(self.support))
        if len(names) > MOST:
            log.warning("%d images, of which the figure shows the first %d", len(names), MOST)
        return shown, {name: read_image(self.images / name) for name in names[:MOST]}

    def _of_dataset(self, data_dir: str | Path) -> tuple[supports.Supports, dict[str, np.ndarray]]:
        split = datasets.open_split(self.dataset, "test", data_dir)
        class_id = split.items[0][1]
        members = [i for i, item in enumerate(split.items) if item[1] == class_id]
        images, masks = [], []
        for item in members[: self.shots]:
            image, values = split.read(int(split.item_image[item]))
            images.append(Image.fromarray(image))
            masks.append(values == split.item_value[item])
        asked = {
            split.items[i][0]: split.read(int(split.item_image[i]))[0]
            for i in members[self.shots :]
        }
        return {split.class_names[class_id]: (images, masks)}, asked


def _rows(panels: Iterable[Panel]) -> list[list[Panel]]:
    told = list(panels)
    return [told[i : i + COLUMNS] for i in range(0, len(told), COLUMNS)]


def _figure(number: str) -> Experiment:
    return Experiment(
        title=f"FSS-1000 Figure {number}: what is found in given images",
        notes="Published as pictures (arXiv 1907.12347). --support and --images name your own folders, "
        "as for `fss label`; without them a test class of FSS-1000 is shown.",
        trainings=(Training("fss1000_bce", "relation/paper", {"loss": "mean"}),),
        scorings=(),
        parts=(GivenImages("fss1000_bce", "fss_1000/standard"),),
    )


EXPERIMENTS = {f"fss_figure{number.lower()}": _figure(number) for number in ("10", "11", "S3")}


def given(experiment: Experiment, support: Path, images: Path) -> Experiment:
    """The experiment on these folders.

    Raises:
      ValueError: it is not about given images.
    """
    if not any(isinstance(part, GivenImages) for part in experiment.parts):
        raise ValueError(
            f"{experiment.title!r} takes no --images; these do: {', '.join(EXPERIMENTS)}"
        )
    parts = tuple(
        dataclasses.replace(part, support=support, images=images)
        if isinstance(part, GivenImages)
        else part
        for part in experiment.parts
    )
    return dataclasses.replace(experiment, parts=parts)
