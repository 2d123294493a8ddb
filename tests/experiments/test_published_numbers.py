"""Every number that the papers print, as docs/published_numbers.md holds it, against ours."""

import csv
import importlib
import re
from pathlib import Path

import pytest

from fss_jax import configs
from fss_jax.experiments import fss_table6
from fss_jax.scoring import protocols

ROOT = Path(__file__).resolve().parents[2]
PAGE, DATA = ROOT / "docs/published_numbers.md", ROOT / "data_builders"


def tables() -> dict[str, list[list[str]]]:
    """Heading -> the rows of the first table under it, header first."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("|") and not re.match(r"\|( -+ \|)+$", line):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            found.setdefault(heading, []).append(cells)
    return found


TABLES = tables()


def numbers(cells: list[str]) -> list[float | None]:
    return [float(re.match(r"[\d.]+", cell)[0]) if cell else None for cell in cells]


def ours(name: str) -> dict[tuple[str, str], float | None]:
    experiment = importlib.import_module(f"fss_jax.experiments.{name}").EXPERIMENT
    return {(s.row, s.column): s.published for s in experiment.scorings}


def test_oslsm_table_1():
    known = ours("oslsm_table1")
    for method, shots, *cells in TABLES["OSLSM Table 1"][1:]:
        for fold, value in enumerate(numbers(cells[:4])):
            assert known.pop((method, f"fold {fold} {shots}-shot"), None) == value, (method, fold)
    assert set(known.values()) == {None}, "numbers that no table of the paper holds"


@pytest.mark.parametrize(
    ("heading", "name"),
    [("FSS-1000 Table 3", "fss_table3"), ("FSS-1000 Table 5", "fss_table5"),
     ("FSS-1000 Table 2", "fss_table2"), ("FSS-1000 Table 4", "fss_table4")],
)  # fmt: skip
def test_tables_of_fss_1000(heading, name):
    """Every number that we compare with stands in the paper's row of that name."""
    header, *lines = TABLES[heading]
    rows = {cells[0]: numbers(cells[1:]) for cells in lines}
    for cells in lines:  # a row of a backbone and a loss, say, is one number of its line
        rows |= {
            f"{cells[0]} {h}": numbers([c]) for h, c in zip(header[1:], cells[1:], strict=True)
        }
    compared = 0
    for (row, column), value in ours(name).items():
        if value is None:
            continue
        assert row in rows, (row, column)
        assert value in rows[row], (row, column, value, rows[row])
        compared += 1
    assert compared >= 4


def test_table_6():
    for (who, seconds, shares), cells in zip(
        fss_table6.PUBLISHED, TABLES["FSS-1000 Table 6"][1:], strict=True
    ):
        assert cells[0] == who
        minutes = re.match(r"(\d+) m", cells[1])
        rest = re.search(r"([\d.]+) s", cells[1])
        assert seconds == 60 * float(minutes[1] if minutes else 0) + float(rest[1])
        assert list(shares) == numbers(cells[2:])


RATES = {cells[0]: cells[1] for cells in TABLES["Rates, schedules, counts and thresholds"][1:]}


def stated(what: str) -> list[float]:
    return [
        float(number.replace(",", ""))
        for number in re.findall(r"(?<![\w.])\.?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", RATES[what])
    ]


def test_oslsm_trains_as_its_paper_and_its_release_say():
    paper, release = configs.get("oslsm/paper"), configs.get("oslsm/release")
    lr, momentum, batch = stated("OSLSM: rate, momentum, batch")
    for config in (paper, release):
        assert (config.lr, config.momentum) == (lr, momentum)
        assert config.steps == stated("updates")[0]
    assert paper.batch == batch
    # The paper takes every image with a pixel of the class; the filter is its release's.
    assert (paper.min_lattice_hits, protocols.get(paper.protocol).min_area) == (0, 1)
    assert release.min_lattice_hits == protocols.get(release.protocol).min_lattice_hits == 3
    batch, decay = stated("the same in the release: batch, weight decay")
    assert (release.batch, release.weight_decay) == (batch, decay)
    (share,) = stated("rate of the conditioning branch")[:1]
    assert any(factor == pytest.approx(share) for _, factor in release.lr_multipliers)
    assert protocols.get("oslsm_release").episodes == stated("test episodes a fold, seed")[0]
    assert protocols.get("oslsm_release").seed == stated("test episodes a fold, seed")[1]
    sizes = [
        int(n) for n in re.findall(r"(\d+) x", RATES["support; query of the test in the release"])
    ]
    assert [release.support_size, protocols.get("oslsm_release").score_size] == sizes


@pytest.mark.parametrize("name", ["paper", "resnet101", "inception", "fs_coco_finetune"])
def test_fss_1000_trains_as_its_paper_says(name):
    config = configs.get(f"relation/{name}")
    lr, episodes, halve = stated("rate, episodes, halved every")
    assert config.steps * config.batch == episodes
    assert config.halve_every * config.batch == halve
    tuned = stated("rate of Table 5, but for the model without ImageNet's weights")[0]
    assert config.lr == (tuned if name == "fs_coco_finetune" else lr)


def test_fss_1000_trains_as_its_release_does():
    config = configs.get("relation/release")
    lr, episodes, halve, norm = stated("the same in the release")
    assert (config.lr, config.clip) == (lr, norm)
    assert config.steps * config.batch == episodes and config.halve_every * config.batch == halve


def test_table_5_trains_at_its_captions_rate():
    experiment = importlib.import_module("fss_jax.experiments.fss_table5").EXPERIMENT
    tuned = stated("rate of Table 5, but for the model without ImageNet's weights")[0]
    for training in experiment.trainings:
        config = training.get_config("data", Path("runs"))
        assert config.lr == (1e-3 if training.name == "fss1000_bce" else tuned), training.name


def test_the_classes_of_imagenet_without_pascal():
    everything, without = stated("ImageNet's classes, those that are not PASCAL's")
    with (DATA / "pascal_5i/imagenet_classes.csv").open(newline="") as file:
        ids = [row["wordnet_id"] for row in csv.DictReader(file)]
    assert len(set(ids)) == len(ids) == everything - without
    lines = importlib.import_module("fss_jax.experiments.oslsm_figure3").EXPERIMENT.parts[0].lines
    config = dict(lines)["OSLSM, ImageNet-771"].get_config("data", Path("runs"))
    assert config.model.num_outputs == without


def test_figure_8_has_the_papers_shots():
    experiment = importlib.import_module("fss_jax.experiments.fss_figure8").EXPERIMENT
    shots = stated("FSS-1000's Figure 8: shots, a network each")
    trained = [t.get_config("data", Path("runs")) for t in experiment.trainings]
    assert [config.shots for config in trained] == shots
    assert all(config.shots + config.queries <= 10 for config in trained)
    assert [s.settings["shots"] for s in experiment.scorings] == shots
