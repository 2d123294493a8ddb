"""Scores a trained workdir: python evaluate.py --workdir runs/mine --protocol oslsm_release --shots 5

Writes WORKDIR/results/PROTOCOL_Kshot.json, .md and .png (best, median and worst episodes). With
--exhaustive it scores every (support, query) pair instead, with --shots=K every set of K supports:
results/exhaustive_Kshot.json, .md and .png (the best and the worst support of some classes). With
--protocol all it scores every protocol published for the dataset, and results/protocols_Kshot.md has
them side by side. With --ways C the episodes have C classes (fss_jax/ways.py), and
results/PROTOCOL_Cway_Kshot.* the scores.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from fss_jax import commands

WORKDIR = flags.DEFINE_string("workdir", None, "a workdir that train.py filled")
CONFIG = config_flags.DEFINE_config_file(
    "config", None, "scores this config's --config.init weights instead of a checkpoint"
)
PROTOCOL = flags.DEFINE_string(
    "protocol", None, "see fss_jax/protocols.py, or all; default: the config's"
)
SHOTS = flags.DEFINE_integer(
    "shots", None, "supports per episode; default: the config's", lower_bound=1
)
SPLIT = flags.DEFINE_string("split", None, "default: the config's test split")
DATASET = flags.DEFINE_string("dataset", None, "another dataset than the config's, NAME[/CONFIG]")
DATA_DIR = flags.DEFINE_string("data_dir", None, "where datasets were prepared")
RECORDS = flags.DEFINE_string("records", None, "a file of episodes: CLASS QUERY SUPPORT,SUPPORT..")
ITEMS = flags.DEFINE_string("items", None, "a file of IMAGE CLASS lines instead of the filter")
CHECKPOINT = flags.DEFINE_string("checkpoint", "best", "best, latest, or a step")
EPISODES = flags.DEFINE_integer("episodes", None, "only the first so many records", lower_bound=1)
TRIVIAL = flags.DEFINE_boolean("trivial", True, "score the trivial predictors, too")
ANNOTATION = flags.DEFINE_string(
    "annotation", "mask", "of the supports, made from their masks: mask, points, scribble or box"
)
WAYS = flags.DEFINE_integer("ways", 1, "classes an episode is about", lower_bound=1)
EXHAUSTIVE = flags.DEFINE_boolean("exhaustive", False, "every pair of images, no sampling")
DROP_RARE = flags.DEFINE_boolean(
    "drop_rare_classes", False, "leave out classes with too few images for an episode"
)
CANVAS = flags.DEFINE_integer(
    "canvas", None, "pixels; for a dataset of larger images than trained on", lower_bound=1
)
DEVICES = flags.DEFINE_integer(
    "devices", 0, "devices of this process to use; 0 = all", lower_bound=0
)
CLUSTER = flags.DEFINE_boolean(
    "cluster", None, "join the run's other processes; default: if the environment names them"
)
flags.mark_flag_as_required("workdir")


def main() -> None:
    from fss_jax import comparison, devices, pair_results, results, ways_results

    commands.use_compilation_cache()
    devices.join_cluster(CLUSTER.value)
    if EXHAUSTIVE.value:
        unused = [f.name for f in (RECORDS, EPISODES, CONFIG) if f.value is not None]
        unused += [f.name for f in (WAYS, ANNOTATION) if f.value != f.default]
        if unused:
            raise ValueError(f"--exhaustive scores every pair; leave out --{unused[0]}")
        pairs = pair_results.evaluate(
            WORKDIR.value,
            shots=SHOTS.value or 1,
            protocol=PROTOCOL.value,
            split=SPLIT.value,
            dataset=DATASET.value,
            data_dir=DATA_DIR.value,
            items_file=ITEMS.value and Path(ITEMS.value),
            checkpoint=CHECKPOINT.value,
            canvas=CANVAS.value,
            drop_rare_classes=DROP_RARE.value,
            device_count=DEVICES.value,
        )
        if devices.is_lead():
            print(pair_results.table(pairs))
        return
    settings = {
        "shots": SHOTS.value,
        "split": SPLIT.value,
        "dataset": DATASET.value,
        "data_dir": DATA_DIR.value,
        "checkpoint": CHECKPOINT.value,
        "episodes": EPISODES.value,
        "trivial": TRIVIAL.value,
        "device_count": DEVICES.value,
        "canvas": CANVAS.value,
        "config": CONFIG.value,
        "annotation": ANNOTATION.value,
        "drop_rare_classes": DROP_RARE.value,
    }
    lists = {
        "records_file": RECORDS.value and Path(RECORDS.value),
        "items_file": ITEMS.value and Path(ITEMS.value),
    }
    if WAYS.value > 1 or PROTOCOL.value == "all":
        given = [name.removesuffix("_file") for name, path in lists.items() if path]
        if given or (WAYS.value > 1 and PROTOCOL.value == "all"):
            raise ValueError(
                f"{'--protocol all' if PROTOCOL.value == 'all' else '--ways'} draws lists of its own; "
                f"leave out --{given[0] if given else 'ways'}"
            )
    if PROTOCOL.value == "all":
        text = comparison.table(comparison.evaluate_all(WORKDIR.value, **settings))
    elif WAYS.value > 1:
        scored = ways_results.evaluate(
            WORKDIR.value, ways=WAYS.value, protocol=PROTOCOL.value, **settings
        )
        text = ways_results.result_table(scored)
    else:
        scored = results.evaluate(WORKDIR.value, protocol=PROTOCOL.value, **lists, **settings)
        text = results.result_table(scored)
    if devices.is_lead():
        print(text)


if __name__ == "__main__":
    commands.run(main)
