"""One model under all protocols: those that apply are scored, the others named with a reason."""

import dataclasses
import json

import pytest

from fss_jax.scoring import protocols
from fss_jax.studies import every_protocol

OURS = ("uniform", "fss_random")


def test_a_dataset_is_served_by_the_protocols_published_for_it():
    def serving(dataset):
        return {name for name, p in protocols.PROTOCOLS.items() if p.serves(dataset)} - set(OURS)

    pascal = {
        "oslsm_release",
        "oslsm_paper",
        "oslsm_release_native",
        "panet",
        "canet",
        "canet_paper",
        "hsnet",
        "pfenet",
    }
    assert serving("pascal_5i/fold1") == serving("pascal_5i/fold3_dedup") == pascal
    assert serving("coco_20i/fold2") == {"hsnet_coco", "pfenet_coco"}
    assert serving("coco_20i/fold2_block") == {"panet_coco", "pfenet_coco"}
    assert serving("fss_1000/standard") == {"fss1000_paper", "hsnet_fss", "hsnet_fss_distinct"}


def test_a_difference_is_told_from_the_fields():
    release, paper = protocols.get("oslsm_release"), protocols.get("oslsm_release_native")
    assert (
        every_protocol.explain(paper, release)
        == "scored at: the image's own size instead of 500 x 500"
    )
    told = every_protocol.explain(protocols.get("hsnet"), release)
    assert "void pixels: left out instead of count as background" in told
    assert "seed: 0 instead of 1385" in told and "2009_004509 3" in told
    known = {field.name for field in dataclasses.fields(release)}
    assert known - set(every_protocol.SHOWN) == {"name", "datasets", "source", "lists", "remedy"}


@pytest.fixture
def two(monkeypatch):
    """Only two protocols that fit the toy data, one that wants too many images, one for PASCAL."""
    few = {name: protocols.get(name) for name in ("uniform", "fss_random", "oslsm_release")}
    small = dataclasses.replace(few["uniform"], name="small", runs=2, episodes=6)
    long = dataclasses.replace(protocols.get("fss1000_paper"), name="long", datasets=("*",))
    for protocol in (small, long):
        few[protocol.name] = protocol
    del few["fss_random"]
    monkeypatch.setattr(protocols, "PROTOCOLS", few)


@pytest.mark.slow
def test_every_protocol_is_scored_or_named(toy_workdir, two):
    compared = every_protocol.evaluate_all(toy_workdir, shots=1, episodes=8, trivial=False)
    assert list(compared["scores"]) == ["uniform", "small"]
    assert compared["left_out"]["oslsm_release"] == "for pascal_5i/*, this is toy_squares"
    assert "takes 10 images of every class" in compared["left_out"]["long"]
    stem = toy_workdir / "results" / "protocols_1shot"
    assert json.loads(stem.with_suffix(".json").read_text()) == json.loads(json.dumps(compared))
    text = stem.with_suffix(".md").read_text()
    assert "|  | uniform | small |" in text and "| episodes scored | 8 | 8 |" in text
    assert "- **small**: episodes a run: 6 instead of 1000; runs: 2 instead of 1. ours" in text
    assert "- long: protocol long at 1 shots takes 10 images" in text
