"""Scores a trained workdir: python evaluate.py --workdir runs/mine --protocol oslsm_release --shots 5

Writes WORKDIR/results/PROTOCOL_Kshot.json, .md and .png (best, median and worst episodes). With
--exhaustive it scores every (support, query) pair instead, with --shots=K every set of K supports:
results/exhaustive_Kshot.json, .md and .png (the best and the worst support of some classes). With
--protocol all it scores every protocol published for the dataset: results/protocols_Kshot.md. With
--ways C the episodes have C classes (fss_jax/studies/ways.py): results/PROTOCOL_Cway_Kshot.*.
"""

from typing import Any

from absl import flags
from ml_collections import config_flags

from fss_jax.runtime import messages

flags.DEFINE_string("workdir", None, "a workdir that train.py filled", required=True)
config_flags.DEFINE_config_file("config", None, "scores its --config.init, not a checkpoint")
flags.DEFINE_string(
    "protocol", None, "see fss_jax/scoring/protocols.py, or all; default: the config's"
)
flags.DEFINE_integer("shots", None, "supports per episode; default: the config's", lower_bound=1)
flags.DEFINE_string("split", None, "default: the config's test split")
flags.DEFINE_string("dataset", None, "another dataset than the config's, NAME[/CONFIG]")
flags.DEFINE_string("data_dir", None, "where datasets were prepared")
flags.DEFINE_string("records", None, "a file of episodes: CLASS QUERY SUPPORT,SUPPORT..")
flags.DEFINE_string("items", None, "a file of IMAGE CLASS lines instead of the filter")
flags.DEFINE_string("checkpoint", "best", "best, latest, or a step")
flags.DEFINE_integer("episodes", None, "only the first so many records", lower_bound=1)
flags.DEFINE_boolean("trivial", True, "score the trivial predictors, too")
flags.DEFINE_string("annotation", "mask", "of the supports: mask, points, scribble or box")
flags.DEFINE_integer("ways", 1, "classes an episode is about", lower_bound=1)
flags.DEFINE_boolean("exhaustive", False, "every pair of images, no sampling")
flags.DEFINE_boolean("drop_rare_classes", False, "leave out classes with too few images")
flags.DEFINE_integer("canvas", None, "pixels; for larger images than trained on", lower_bound=1)
flags.DEFINE_integer("devices", 0, "of this process to use; 0 = all", lower_bound=0)
flags.DEFINE_boolean("cluster", None, "join other processes; default: if any are named")
FLAGS = flags.FLAGS


def main() -> None:
    from fss_jax.runtime import devices
    from fss_jax.scoring import results
    from fss_jax.studies import every_pair, every_protocol, several_classes

    messages.use_compilation_cache()
    devices.join_cluster(FLAGS.cluster)
    where = _given("split", "dataset", "data_dir", "checkpoint", "canvas", "drop_rare_classes")
    where |= {"shots": FLAGS.shots, "device_count": FLAGS.devices}
    how = _given("config", "episodes", "trivial", "annotation")
    if FLAGS.exhaustive:
        _refuse(
            "--exhaustive scores every pair", "records", "episodes", "config", "ways", "annotation"
        )
        settings = {"protocol": FLAGS.protocol, "items_file": FLAGS.items, **where}
        text = every_pair.table(every_pair.evaluate(FLAGS.workdir, **settings))
    elif FLAGS.protocol == "all":
        _refuse("--protocol all draws lists of its own", "records", "items", "ways")
        text = every_protocol.table(every_protocol.evaluate_all(FLAGS.workdir, **how, **where))
    elif FLAGS.ways > 1:
        _refuse("--ways draws lists of its own", "records", "items")
        settings = {"ways": FLAGS.ways, "protocol": FLAGS.protocol, **how, **where}
        text = several_classes.result_table(several_classes.evaluate(FLAGS.workdir, **settings))
    else:
        lists = {"records_file": FLAGS.records, "items_file": FLAGS.items}
        settings = {"protocol": FLAGS.protocol, **lists, **how, **where}
        text = results.result_table(results.evaluate(FLAGS.workdir, **settings))
    if devices.is_lead():
        print(text)


def _given(*names: str) -> dict[str, Any]:
    return {name: FLAGS[name].value for name in names}


def _refuse(why: str, *names: str) -> None:
    for name in names:
        if FLAGS[name].value != FLAGS[name].default:
            raise ValueError(f"{why}; leave out --{name}")


if __name__ == "__main__":
    messages.run(main)
