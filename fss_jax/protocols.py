"""Every choice that moves a score, as named frozen dataclasses: list, filter, sizes, void, metric."""

import dataclasses
import difflib

from fss_jax import published
from fss_jax.datasets import Split
from fss_jax.episodes import EpisodeSampler, Records, oslsm_test_records


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a list of episodes is drawn and scored.

    Attributes:
      rule: the name of a published list (see `records`) or a rule of `EpisodeSampler`.
      episodes, queries, seed: of the record list; a list that covers a split has its own number.
      score_size: side of the square that masks and predictions are compared at; 0 = the image's own
        size.
      void: 'background' or 'ignore' (see `bank.gather`).
      metric: 'pooled' or 'per_image' (see `metrics.score`).
      min_lattice_hits, min_area: small-object filters (protocols.md A.2, D.1).
      source: where the choice comes from.
    """

    name: str
    rule: str
    episodes: int
    seed: int
    score_size: int
    void: str
    metric: str = "pooled"
    queries: int = 1
    min_lattice_hits: int = 0
    min_area: int = 0
    source: str = ""

    def filter(self, split: Split) -> Split:
        """The split with only the items that this protocol draws from."""
        return split.without_small(self.min_area, self.min_lattice_hits)

    def records(self, split: Split, shots: int) -> Records:
        """The protocol's episodes over an already filtered split."""
        if self.rule == "oslsm_test":
            return oslsm_test_records(split.items, shots=shots, count=self.episodes, seed=self.seed)
        if self.rule == "first_images":
            return published.first_images(split.items, shots, self.queries)
        if self.rule in ("hsnet_fss", "hsnet_fss_distinct"):
            repeats = self.rule == "hsnet_fss"
            return published.hsnet_fss(split.items, shots, repeats=repeats, seed=self.seed)
        sampler = EpisodeSampler(
            split.items, shots=shots, queries=self.queries, rule=self.rule, seed=self.seed
        )
        return sampler.records(0, self.episodes)


_ALL = [
    Protocol(
        "oslsm_release",
        rule="oslsm_test",
        episodes=1000,
        seed=1385,
        score_size=500,
        void="background",
        min_lattice_hits=3,
        source="lzzcd001/OSLSM: fixed list, 500x500 warp, void counted as background",
    ),
    Protocol(
        "oslsm_paper",
        rule="oslsm_test",
        episodes=1000,
        seed=1385,
        score_size=0,
        void="background",
        min_lattice_hits=3,
        source="arXiv 1709.03410: scored at the original image size",
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
        source="juhongm999/hsnet: every image a query, supports may repeat, pooled per class",
    ),
    Protocol(
        "hsnet_fss_distinct",
        rule="hsnet_fss_distinct",
        episodes=2400,
        seed=0,
        score_size=400,
        void="background",
        source="hsnet_fss with supports that differ",
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
