"""Trains a method: python train.py --config fss_jax/configs/oslsm/quickstart.py --workdir runs/mine

Every setting of the config can be changed: --config.lr=0.001. A second start in the same workdir
resumes from its last checkpoint; SIGTERM saves first.
"""

from absl import flags
from ml_collections import config_flags

from fss_jax.runtime import messages

CONFIG = config_flags.DEFINE_config_file("config", None, "experiment, a file in fss_jax/configs")
WORKDIR = flags.DEFINE_string("workdir", None, "folder for checkpoints, logs and pictures")
INIT_FROM = flags.DEFINE_string(
    "init_from", None, "another workdir, whose parameters to start from"
)
DEVICES = flags.DEFINE_integer(
    "devices", 0, "devices of this process to use; 0 = all", lower_bound=0
)
CLUSTER = flags.DEFINE_boolean(
    "cluster", None, "join the run's other processes; default: if the environment names them"
)
flags.mark_flags_as_required(["config", "workdir"])


def main() -> None:
    from fss_jax.runtime import devices
    from fss_jax.training import loop

    messages.use_compilation_cache()
    devices.join_cluster(CLUSTER.value)
    if INIT_FROM.value:
        CONFIG.value.init = f"workdir:{INIT_FROM.value}"
    loop.train(CONFIG.value, WORKDIR.value, DEVICES.value)


if __name__ == "__main__":
    messages.run(main)
