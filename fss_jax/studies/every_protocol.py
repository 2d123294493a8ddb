"""One model under every protocol that its dataset can serve, side by side, and what differs."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fss_jax.data.records import TooFewImages
from fss_jax.reports import page as pages
from fss_jax.reports.page import Page, Table, interval, percent
from fss_jax.reports.provenance import provenance
from fss_jax.scoring import protocols, results
from fss_jax.scoring.protocols import Protocol
from fss_jax.scoring.workdir import open_workdir

SHOWN = {  # fields of a protocol: how a row of the table calls them
    "rule": "list",
    "episodes": "episodes a run",
    "runs": "runs",
    "seed": "seed",
    "queries": "queries an episode",
    "score_size": "scored at",
    "void": "void pixels",
    "metric": "IoU of a class",
    "min_lattice_hits": "lattice points at least",
    "min_area": "object pixels at least",
    "also": "items in spite of the filter",
    "without": "items left out",
    "training": "published training images",
}
WORDS = {
    ("metric", "pooled"): "over summed pixels",
    ("metric", "per_image"): "mean over images",
    ("void", "background"): "count as background",
    ("void", "ignore"): "left out",
    ("score_size", 0): "the image's own size",
}


def word(field: str, value: Any) -> str:
    """A field's value as a person reads it."""
    if (field, value) in WORDS:
        return WORDS[field, value]
    if field == "score_size":
        return f"{value} x {value}"
    if field in ("also", "without"):
        return ", ".join(f"{image} {class_id}" for image, class_id in value) or "none"
    return str(value) or "not stated"


def differing(chosen: Iterable[Protocol]) -> list[str]:
    """The fields in which not all of the protocols are the same, in the order of SHOWN."""
    chosen = list(chosen)
    return [field for field in SHOWN if len({getattr(p, field) for p in chosen}) > 1]


def explain(protocol: Protocol, first: Protocol) -> str:
    """What makes a protocol's number another than the first's, from their fields."""
    return "; ".join(
        f"{SHOWN[field]}: {word(field, getattr(protocol, field))} instead of "
        f"{word(field, getattr(first, field))}"
        for field in differing([protocol, first])
    )


def evaluate_all(workdir: str | Path, *, shots: int | None = None, **settings: Any) -> dict:
    """Scores a workdir under each protocol that was published for its dataset.

    Writes WORKDIR/results/protocols_Kshot.{md,json} beside each protocol's own files. A protocol that
    does not apply is named with its reason: made for other data, or too few images for its list.

    Args:
      settings: as of `results.evaluate`, but for the protocol.

    Returns:
      What the JSON file holds: 'scores' (a result by protocol name) and 'left_out' (a reason by name).
    """
    opening = ("split", "dataset", "data_dir", "checkpoint", "canvas", "config", "annotation")
    opened = open_workdir(workdir, **{k: v for k, v in settings.items() if k in opening})
    scores, left_out = {}, {}
    for name, protocol in protocols.PROTOCOLS.items():
        if not protocol.serves(opened.dataset):
            left_out[name] = f"for {' or '.join(protocol.datasets)}, this is {opened.dataset}"
            continue
        try:
            scores[name] = results.evaluate(workdir, protocol=name, shots=shots, **settings)
        except TooFewImages as error:
            left_out[name] = str(error)
    compared = {
        "method": opened.config.method,
        "dataset": opened.dataset,
        "shots": shots or opened.config.shots,
        "scores": scores,
        "left_out": left_out,
        **provenance(),
    }
    stem = opened.result(f"protocols_{compared['shots']}shot")
    pages.write(stem, compared, page(compared))
    return compared


def page(compared: dict) -> Page:
    """The protocols as columns, what was measured and how they differ as rows."""
    chosen = [protocols.get(name) for name in compared["scores"]]
    body: list[Table | str] = []
    if chosen:
        first, *others = chosen
        changes = [f"- **{first.name}**: {first.source}."]
        changes += [f"- **{p.name}**: {explain(p, first)}. {p.source}." for p in others]
        body += [_table(compared["scores"], chosen), f"What each changes against {first.name}:"]
        body.append("\n".join(changes))
    if compared["left_out"]:
        reasons = [f"- {name}: {reason}" for name, reason in compared["left_out"].items()]
        body += ["Not scored:", "\n".join(reasons)]
    for result in list(compared["scores"].values())[:1]:
        body.append(f"Checkpoint step {result['checkpoint_step']}.")
    return Page(f"{compared['method']}, {compared['dataset']}, {compared['shots']}-shot", body)


def _table(scores: dict[str, dict], chosen: list[Protocol]) -> Table:
    def with_interval(name: str) -> list[str]:
        return [f"{percent(r[name])} ({interval(r[f'{name}_ci95'])})" for r in found]

    found = list(scores.values())
    rows = [
        ("**mIoU % (95%)**", *with_interval("miou")),
        ("FB-IoU %", *with_interval("fb_iou")),
        *(
            (name.replace("_", " "), *(percent(r["trivial"][name]) for r in found))
            for name in found[0]["trivial"] or {}
        ),
        ("episodes scored", *(r["episodes"] for r in found)),
        ("classes", *(len(r["per_class"]) for r in found)),
        ("records", *(f"`{r['records_sha256'][:12]}`" for r in found)),
        ("the release's list", *map(_is_published, found, chosen)),
        *(
            (SHOWN[field], *(word(field, getattr(p, field)) for p in chosen))
            for field in differing(chosen)
        ),
    ]
    return Table(("", *scores), rows)


def _is_published(result: dict, protocol: Protocol) -> str:
    if not protocol.lists:
        return "none known"
    return "yes" if result["records_sha256"] in protocol.lists else "no, of these images"
