"""Where the time of a training step goes, by kind of operation, from XLA's own trace.

python -m benchmarks.profile --config fss_jax/configs/oslsm/quickstart.py --out runs/speed/profile

Random images stand in for the dataset; sizes, batch and optimizer are the config's.
"""

from absl import flags
from ml_collections import config_flags

from benchmarks import command, machine, tables, traces
from fss_jax.runtime import messages

CONFIG = config_flags.DEFINE_config_file("config", None, "a file of fss_jax/configs")
STEPS = flags.DEFINE_integer("steps", 5, "traced steps")
OUT = flags.DEFINE_string("out", "runs/speed/profile", "writes OUT.json and OUT.md")
flags.mark_flag_as_required("config")


def main() -> None:
    messages.use_compilation_cache()
    result = machine.facts() | traces.measure(CONFIG.value, STEPS.value)
    print(tables.save(OUT.value, result, "Profile of a training step", traces.table(result)))


if __name__ == "__main__":
    command.run(main)
