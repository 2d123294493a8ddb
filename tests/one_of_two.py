"""A process of a run of several: trains until SIGTERM, then scores. See test_processes.py.

one_of_two.py DATA_DIR WORKDIR
"""

import sys

import toy

from fss_jax.runtime import messages
from fss_jax.runtime.devices import join_cluster
from fss_jax.scoring import results
from fss_jax.studies import every_pair
from fss_jax.training import loop

if __name__ == "__main__":
    data_dir, workdir = sys.argv[1:]
    messages.use_compilation_cache()
    join_cluster()
    config = toy.get_config()
    config.data_dir = data_dir
    config.steps, config.log_every = 1_000_000, 1
    loop.train(config, workdir)
    results.evaluate(workdir, checkpoint="latest", episodes=10, trivial=False)
    every_pair.evaluate(workdir, checkpoint="latest")
