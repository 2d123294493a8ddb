"""A process of a run of several: trains until SIGTERM, then scores. See test_processes.py.

one_of_two.py DATA_DIR WORKDIR
"""

import sys

import toy

from fss_jax import commands, pair_results, results, training
from fss_jax.devices import join_cluster

if __name__ == "__main__":
    data_dir, workdir = sys.argv[1:]
    commands.use_compilation_cache()
    join_cluster()
    config = toy.get_config()
    config.data_dir = data_dir
    config.steps, config.log_every = 1_000_000, 1
    training.train(config, workdir)
    results.evaluate(workdir, checkpoint="latest", episodes=10, trivial=False)
    pair_results.evaluate(workdir, checkpoint="latest")
