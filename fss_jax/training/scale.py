"""More devices than a published batch has episodes: the batch and all that counts steps, together."""

from ml_collections import ConfigDict

SHRINKS = ("steps", "warmup", "halve_every", "eval_every", "log_every")


def scale(config: ConfigDict, factor: int) -> ConfigDict:
    """A config that sees as many episodes in `factor` times larger steps, and as many fewer of them.

    The learning rate stays: what it should be depends on optimizer and loss (docs/clusters.md).

    Raises:
      ValueError: a factor below 1, or one that leaves no step between two validations.
    """
    if factor < 1:
        raise ValueError(f"--scale {factor}: expected at least 1")
    scaled = config.copy_and_resolve_references()
    scaled.batch = config.batch * factor
    # Whole dispatches remain whole: fewer steps a call, if need be.
    while scaled.steps_per_dispatch > 1 and any(
        config[name] // factor % scaled.steps_per_dispatch
        for name in ("steps", "eval_every", "log_every")
    ):
        scaled.steps_per_dispatch -= 1
    for name in SHRINKS:
        scaled[name] = config[name] // factor if config[name] else 0
    if min(scaled.eval_every, scaled.log_every, scaled.halve_every) < 1 and factor > 1:
        scaled.halve_every = max(1, scaled.halve_every)
        for name in ("eval_every", "log_every"):
            if scaled[name] < 1:
                raise ValueError(
                    f"--scale {factor} leaves no step to config.{name} ({config[name]}); set it larger"
                )
    scaled.tenth_at = tuple(update // factor for update in config.tenth_at)
    return scaled
