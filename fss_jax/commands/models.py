"""Prints a config's method: layers, output shapes, parameters and GFLOP of an episode.

python -m fss_jax.methods --config oslsm/release [--config.model.width=0.25]

Nothing is computed and no weights are made, so it takes seconds for a model of any size.
"""

import re
from collections import Counter

from absl import flags
from ml_collections import ConfigDict, config_flags

from fss_jax.methods import build_from
from fss_jax.reports import model_summary
from fss_jax.runtime import messages

CONFIG = config_flags.DEFINE_config_file("config", None, "experiment, a file in fss_jax/configs")
flags.mark_flags_as_required(["config"])

NATIVE_SIZE = 500  # pixels; stands for queries of their own size: the longer side in PASCAL VOC


def describe(config: ConfigDict) -> str:
    """The summary as text. Reads method, model, shots, queries, support_size and query_size."""
    query_size = config.query_size or NATIVE_SIZE
    episode = model_summary.episode_shapes(
        shots=config.shots,
        queries=config.queries,
        support_size=config.support_size,
        query_size=query_size,
    )
    model = build_from(config)
    variables = model_summary.variable_shapes(model, episode)
    rows = model_summary.layer_rows(model, variables, episode)
    condition, segment = model_summary.macs_of_halves(model, variables, episode)

    name_width = max(len(row[0]) for row in rows)
    shape_width = max(len(row[1]) for row in rows)
    lines = [
        f"{config.method}: {config.shots} support of {config.support_size} px, "
        f"{config.queries} query of {query_size} px"
        + ("" if config.query_size else " (in place of each image's own size)"),
        f"{'layer':{name_width}}  {'output':{shape_width}}  {'parameters':>12}  {'GMAC':>8}",
    ]
    for name, shape, parameters, macs in rows:
        lines.append(
            f"{name:{name_width}}  {shape:{shape_width}}  {parameters:12,}  {macs / 1e9:8.3f}"
        )
    parts = Counter()
    for module, tree in variables["params"].items():
        parts[re.sub(r"(_\d+)+$", "", module)] += model_summary.count(tree)
    lines += [f"parameters of {part}: {number:,}" for part, number in parts.items()]
    lines.append(f"parameters: {model_summary.count(variables['params']):,}")
    for collection in sorted(set(variables) - {"params"}):
        lines.append(f"not trained, {collection}: {model_summary.count(variables[collection]):,}")
    gflop = [2 * macs / 1e9 for macs in (condition, segment)]
    lines.append(
        f"GFLOP per episode: {sum(gflop):.1f} (condition {gflop[0]:.1f}, segment {gflop[1]:.1f}); "
        f"training about {3 * sum(gflop):.1f}"
    )
    return "\n".join(lines)


def main() -> None:
    print(describe(CONFIG.value))


if __name__ == "__main__":
    messages.run(main)
