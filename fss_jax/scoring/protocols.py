"""Every choice that moves a score, as named frozen dataclasses: list, filter, sizes, void, metric."""

import dataclasses
import difflib
import fnmatch

import numpy as np
from ml_collections import ConfigDict

from fss_jax.data.datasets import Split
from fss_jax.data.records import (
    EpisodeSampler,
    Item,
    Records,
    TooFewImages,
    join,
    oslsm_test_records,
)
from fss_jax.data.view import View
from fss_jax.scoring import published_lists

PASCAL, COCO = ("pascal_5i/*",), ("coco_20i/*",)
FSS = ("fss_1000/*", "fss_glyphs/*")
ALL_IMAGES = "VOC and SBD, doubles kept: 7087 entries (fold?)"
DEDUPLICATED = "5953 images (fold?_dedup)"
AUGMENTED = "VOC train + SBD - VOC val (fold?_trainaug)"


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a list of episodes is drawn and scored.

    Attributes:
      rule: the name of a published list (see `records`) or a rule of `EpisodeSampler`.
      episodes, queries, seed: of the record list; a list that covers a split has its own number.
      runs: lists drawn one after another with the seeds seed, seed + 1 ...; a class's score is the
        mean of its scores in the runs.
      score_size: side of the square that masks and predictions are compared at; 0 = the image's own
        size.
      void: 'background' or 'ignore' (see `bank.gather`).
      metric: 'pooled' or 'per_image' (see `metrics.score`).
      min_lattice_hits, min_area: small-object filters (protocols.md A.2, D.1).
      also, without: items that a published list has in spite of the filter, or lacks.
      lists: SHA-256 of the lists that the released code yields, where they are known; ours, since
        nobody published a hash.
      datasets: patterns of the datasets that it was published for.
      remedy: what to do where a class has too few images for the list.
      training: what the paper trained on; this repository's dataset for it, if it has one.
      source: where the choice comes from, and where ours differs.
    """

    name: str
    rule: str
    episodes: int
    seed: int
    score_size: int
    void: str
    metric: str = "pooled"
    queries: int = 1
    runs: int = 1
    min_lattice_hits: int = 0
    min_area: int = 0
    also: tuple[Item, ...] = ()
    without: tuple[Item, ...] = ()
    lists: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ("*",)
    remedy: str = (
        "lower the shots, or leave such classes out (--drop_rare_classes; in training "
        "config.drop_rare_classes)"
    )
    training: str = ""
    source: str = ""

    def serves(self, dataset: str) -> bool:
        """Whether it was published for a dataset NAME/CONFIG."""
        return any(fnmatch.fnmatchcase(dataset, pattern) for pattern in self.datasets)

    def view(self, config: ConfigDict, annotation: str = "mask") -> View:
        """What a config's method sees, scored at this protocol's size with its rule for void."""
        return View.of(config, self.score_size, self.void, annotation)

    def filter(self, split: Split) -> Split:
        """The split with only the items that this protocol draws from."""
        if self.rule == "pfenet":  # an image with a large object is a query by any of its objects
            large = np.unique(split.item_image[split.item_area >= self.min_area])
            return split.take(np.flatnonzero(np.isin(split.item_image, large)))
        keep = (split.item_area >= self.min_area) & (
            split.item_lattice_hits >= self.min_lattice_hits
        )
        keep |= np.asarray([item in self.also for item in split.items], bool)
        keep &= np.asarray([item not in self.without for item in split.items], bool)
        return split if keep.all() else split.take(np.flatnonzero(keep))

    def records(self, split: Split, shots: int) -> Records:
        """The protocol's episodes over an already filtered split.

        Raises:
          TooFewImages: a class has fewer images than the list takes; the message names it, and what
            to do.
        """
        try:
            return join([self._run(split, shots, self.seed + run) for run in range(self.runs)])
        except TooFewImages as error:
            if not error.counts:
                raise
            short = [f"{n} of {split.class_names[c]}" for c, n in error.counts.items()]
            more = f" and of {len(short) - 3} more classes fewer" if len(short) > 3 else ""
            raise TooFewImages(
                f"protocol {self.name} at {shots} shots takes {error.needed} images of every class, "
                f"but {split.name} has {', '.join(short[:3])}{more}; {self.remedy}",
                error.counts,
                error.needed,
            ) from None

    def run_of(self, count: int) -> np.ndarray:
        """[count] the run that each of the first records belongs to."""
        return np.arange(count) // self.episodes if self.runs > 1 else np.zeros(count, int)

    def _run(self, split: Split, shots: int, seed: int) -> Records:
        items = split.items
        if self.rule == "oslsm_test":
            return oslsm_test_records(items, shots=shots, count=self.episodes, seed=seed)
        if self.rule == "first_images":
            return published_lists.first_images(items, shots, self.queries)
        if self.rule in ("hsnet_fss", "hsnet_fss_distinct"):
            return published_lists.hsnet_fss(
                items, shots, repeats=self.rule == "hsnet_fss", seed=seed
            )
        if self.rule == "pfenet":
            large = split.item_area >= self.min_area
            return published_lists.pfenet(items, large, shots, self.episodes, seed)
        if self.rule in LISTS:
            return LISTS[self.rule](items, shots, self.episodes, seed)
        sampler = EpisodeSampler(
            items, shots=shots, queries=self.queries, rule=self.rule, seed=seed
        )
        return sampler.records(0, self.episodes)


LISTS = {
    "canet": published_lists.canet,
    "hsnet_pascal": published_lists.hsnet_pascal,
    "hsnet_coco": published_lists.hsnet_coco,
}


_ALL = [
    Protocol(
        "oslsm_release",
        rule="oslsm_test",
        episodes=1000,
        seed=1385,
        score_size=500,
        void="background",
        min_lattice_hits=3,
        datasets=PASCAL,
        lists=published_lists.OSLSM_LISTS,
        training=ALL_IMAGES,
        source="lzzcd001/OSLSM: fixed list, 500x500 warp, void counted as background",
    ),
    Protocol(
        "oslsm_paper",
        rule="oslsm_test",
        episodes=1000,
        seed=1385,
        score_size=0,
        void="background",
        min_area=1,
        datasets=PASCAL,
        training=ALL_IMAGES,
        source="arXiv 1709.03410: scored at the original image size, every image with at least one "
        "pixel of the class; drawn as the release draws, so its list is not the release's",
    ),
    Protocol(
        "oslsm_release_native",
        rule="oslsm_test",
        episodes=1000,
        seed=1385,
        score_size=0,
        void="background",
        min_lattice_hits=3,
        datasets=PASCAL,
        lists=published_lists.OSLSM_LISTS,
        training=ALL_IMAGES,
        source="the release's list, scored at the original image size as the paper says",
    ),
    Protocol(
        "fss1000_paper",
        rule="first_images",
        episodes=240,
        seed=0,
        score_size=224,
        void="background",
        queries=5,
        metric="per_image",
        datasets=FSS,
        remedy="take fss_1000/standard, which keeps all ten images of each class, or the protocol "
        "hsnet_fss, which takes what there is",
        training="520 classes",
        source="arXiv 1907.12347 and its authors' script: first five support, next five queries",
    ),
    Protocol(
        "fss_random",
        rule="class_uniform",
        episodes=1000,
        seed=0,
        score_size=224,
        void="background",
        queries=5,
        metric="per_image",
        source="ours: fss1000_paper's size and metric, episodes at random (fsCOCO, fsPASCAL)",
    ),
    Protocol(
        "hsnet_fss",
        rule="hsnet_fss",
        episodes=2400,
        seed=0,
        score_size=400,
        void="background",
        datasets=FSS,
        training="520 classes",
        source="juhongm999/hsnet: every image a query, supports may repeat, pooled per class",
    ),
    Protocol(
        "hsnet_fss_distinct",
        rule="hsnet_fss_distinct",
        episodes=2400,
        seed=0,
        score_size=400,
        void="background",
        datasets=FSS,
        training="520 classes",
        source="hsnet_fss with supports that differ",
    ),
    Protocol(
        "panet",
        rule="class_uniform",
        episodes=1000,
        runs=5,
        seed=1234,
        score_size=417,
        void="ignore",
        datasets=PASCAL,
        training=AUGMENTED,
        source="kaixin96/PANet: classes equally often, seeds 1234 to 1238. Its config tests on "
        "images of trainaug; here VOC val. Episodes of our own stream",
    ),
    Protocol(
        "canet",
        rule="canet",
        episodes=1000,
        seed=0,
        score_size=321,
        void="background",
        min_lattice_hits=3,
        datasets=PASCAL,
        training=AUGMENTED,
        source="icoz69/CaNet: the list of val, then shuffled twice, cut at 1000. It draws without a "
        "seed, and scales, crops and flips supports; not so here",
    ),
    Protocol(
        "canet_paper",
        rule="canet",
        episodes=1000,
        seed=0,
        score_size=0,
        void="background",
        min_lattice_hits=3,
        datasets=PASCAL,
        training=AUGMENTED,
        source="CANet 5.1: scored at the image's own size; queries in several sizes are the model's "
        "`scales`",
    ),
    Protocol(
        "hsnet",
        rule="hsnet_pascal",
        episodes=1000,
        seed=0,
        score_size=400,
        void="ignore",
        min_lattice_hits=3,
        also=(("2009_004509", 3), ("2011_002509", 9), ("2009_002571", 16)),
        without=(("2010_001246", 2), ("2010_002792", 2)),
        datasets=PASCAL,
        lists=published_lists.HSNET_LISTS,
        training="10,092 images of its own lists",
        source="juhongm999/hsnet: its list of val walked in order, its generator's supports, which "
        "may repeat",
    ),
    Protocol(
        "pfenet",
        rule="pfenet",
        episodes=5000,
        seed=321,
        score_size=0,
        void="ignore",
        min_area=2 * 32 * 32,
        datasets=PASCAL,
        training=DEDUPLICATED,
        source="dvlab-research/PFENet with ori_resize: images in order, the class at random. It pads "
        "queries to a square, here they are warped. Episodes of our own stream",
    ),
    Protocol(
        "panet_coco",
        rule="class_uniform",
        episodes=1000,
        runs=5,
        seed=1234,
        score_size=417,
        void="ignore",
        datasets=("coco_20i/*_block",),
        training="COCO 2014 train, 60 classes",
        source="kaixin96/PANet: blocks of 20 classes; tests on COCO's training images, here val2017",
    ),
    Protocol(
        "hsnet_coco",
        rule="hsnet_coco",
        episodes=1000,
        seed=0,
        score_size=400,
        void="background",
        datasets=("coco_20i/fold?",),
        training="COCO 2014 train, 60 classes",
        source="juhongm999/hsnet: every fourth class; class, query and supports at random by its "
        "generator, but over val2017, not its own lists",
    ),
    Protocol(
        "pfenet_coco",
        rule="pfenet",
        episodes=20000,
        seed=321,
        score_size=0,
        void="ignore",
        min_area=2 * 32 * 32,
        datasets=COCO,
        training="COCO 2014 train, 60 classes",
        source="dvlab-research/PFENet: blocks of 20 classes (fold?_block), or every fourth with "
        "use_split_coco (fold?); as pfenet, over val2017",
    ),
    Protocol(
        "uniform",
        rule="class_uniform",
        episodes=1000,
        seed=0,
        score_size=0,
        void="ignore",
        source="ours: classes equally often, original size, void left out",
    ),
]
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}


def get(name: str) -> Protocol:
    """The protocol of that name; ValueError names the known ones."""
    if name not in PROTOCOLS:
        close = difflib.get_close_matches(name, PROTOCOLS, 1)
        raise ValueError(
            f"unknown protocol {name!r}; expected one of {', '.join(PROTOCOLS)}"
            + (f" (did you mean {close[0]!r}?)" if close else "")
        )
    return PROTOCOLS[name]
