"""Training a head on a frozen backbone, from images and from a bank of its features, in turn.

python -m benchmarks.frozen --cases panet,ssp,hsnet,decoder --out docs/results/speed_frozen

Random images and weights. `decoder` is FSS-1000's relation module and decoder on VGG-16, whose support
features depend on the mask: it takes features as they are, without a bank.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from benchmarks import command, machine, tables
from benchmarks.timing import in_turn
from fss_jax import configs, methods
from fss_jax.data import feed
from fss_jax.data.bank import Bank
from fss_jax.data.feature_bank import FeatureBank, Look
from fss_jax.data.records import EpisodeSampler
from fss_jax.methods.relation import RelationNetwork
from fss_jax.runtime.checkpoints import TrainState
from fss_jax.runtime.devices import AXIS, replicate
from fss_jax.training import loop
from fss_jax.training.losses import segmentation_loss
from fss_jax.training.optimizers import make_optimizer

CONFIGS = {"panet": "panet/frozen", "ssp": "ssp/vgg16", "hsnet": "hsnet/frozen"}
CASES = flags.DEFINE_list("cases", ["panet", "decoder"], f"of {', '.join(CONFIGS)}, decoder")
BATCH = flags.DEFINE_integer("batch", 2, "episodes a step, of one support and one query")
SIZE = flags.DEFINE_integer("size", 224, "pixels a side")
WIDTH = flags.DEFINE_float("width", 1.0, "channel multiplier")
REPEATS = flags.DEFINE_integer("repeats", 5, "timed steps")
BUDGET = flags.DEFINE_float("budget", 120.0, "seconds for the steps of a case")
OUT = flags.DEFINE_string("out", "runs/speed/frozen", "writes OUT.json and OUT.md")
IMAGES = 8


def calls(name: str) -> dict:
    """A training step on images and on features."""
    config = configs.get(CONFIGS[name])
    config.canvas = config.support_size = config.query_size = side = SIZE.value
    config.batch = BATCH.value
    config.model.width = WIDTH.value
    model = methods.build_from(config)
    variables = methods.init_variables(model, config)
    rng = np.random.default_rng(0)
    shared = {
        "labels": rng.integers(0, 2, (IMAGES, side, side)).astype(np.uint8),
        "sizes": np.full((IMAGES, 2), side, np.int32),
        "item_image": np.arange(IMAGES, dtype=np.int32),
        "item_value": np.ones(IMAGES, np.int32),
    }
    pixels = rng.integers(0, 256, (IMAGES, side, side, 3)).astype(np.uint8)
    shapes = jax.eval_shape(
        lambda x: model.apply(variables, x, method="encoded").maps,
        jax.ShapeDtypeStruct((1, 1, side, side, 3), jnp.float32),
    )
    maps = {
        n: rng.standard_normal((IMAGES, 1, *x.shape[2:])).astype(config.features)
        for n, x in shapes.items()
    }
    entries = {"size": (side, side), "entries": (Look(),)}
    sampler = EpisodeSampler(
        [(f"{n:02}", 1) for n in range(IMAGES)], shots=1, queries=1, rule=config.rule, seed=0
    )
    devices = jax.local_devices()[:1]
    made = {}
    for kind, bank, stays in (
        ("images", Bank(images=pixels, **shared), ()),
        ("features", FeatureBank(maps=maps, **shared, **entries), model.frozen),
    ):
        optimizer = make_optimizer(config, stays)
        step = loop.make_train_step(model, optimizer, config)
        run = jax.pmap(step, axis_name=AXIS, devices=devices, donate_argnums=0)
        state = TrainState(
            jnp.int32(0), variables["params"], {}, optimizer.init(variables["params"])
        )
        batches = feed.bank_feed(
            replicate(bank, devices), sampler, feed.Plan(1, BATCH.value, devices), 0, 1_000_000
        )
        now = [replicate(state, devices)]

        def call(now=now, run=run, batches=batches):
            now[0], measured = run(now[0], *next(batches))
            jax.block_until_ready(measured)

        made[kind] = call
    return made


class OnMaps(RelationNetwork):
    """What follows the encoder, on its maps."""

    def _encode(self, image, mask, train):
        if hasattr(image, "maps"):
            return image.maps
        return jax.lax.stop_gradient(super()._encode(image, mask, train))


class Seen:
    """Maps where an image is expected."""

    def __init__(self, maps, shape):
        self.maps, self.shape, self.dtype = maps, shape, jnp.float32


def decoder_calls() -> dict:
    """The relation network's step on images with a frozen encoder, and on the encoder's maps."""
    side, batch = SIZE.value, BATCH.value
    model = OnMaps(width=WIDTH.value, batch_norm="running", momentum=0.9)
    image = jnp.asarray(
        np.random.default_rng(0).uniform(0, 255, (batch, 1, side, side, 3)), jnp.float32
    )
    mask = jnp.zeros((batch, 1, side, side)).at[:, :, : side // 2].set(1.0)
    variables = jax.jit(model.init)(jax.random.key(0), image, mask, image)
    maps = jax.jit(lambda v: model.apply(v, image, mask, False, method="_encode"))(variables)
    params = variables.pop("params")
    encoder, head = params.pop("encoder"), params
    optimizer = optax.adam(1e-3)

    def step(state, image):
        def loss(head):
            logits = model.apply(
                {"params": {"encoder": encoder, **head}, **variables}, image, mask, image
            )
            return segmentation_loss(logits, mask, jnp.ones_like(mask), kind="mean")

        head, memory = state
        value, gradient = jax.value_and_grad(loss)(head)
        updates, memory = optimizer.update(gradient, memory)
        return (optax.apply_updates(head, updates), memory), value

    on_images = jax.jit(step)
    on_maps = jax.jit(lambda state, maps: step(state, Seen(maps, image.shape)))
    made = {}
    for kind, run, given in (("images", on_images, image), ("features", on_maps, maps)):
        now = [(head, optimizer.init(head))]

        def call(now=now, run=run, given=given):
            now[0], value = run(now[0], given)
            jax.block_until_ready(value)

        made[kind] = call
    return made


def main() -> None:
    facts = machine.facts()
    rows = []
    for name in CASES.value:
        timed = in_turn(
            decoder_calls() if name == "decoder" else calls(name),
            repeats=REPEATS.value,
            budget=BUDGET.value,
            warm_up=1,
        )
        rows += [{"case": name, "from": kind, **t.facts()} for kind, t in timed.items()]
    lines = tables.markdown(
        ["head", "from", "s / step", "CPU s / step", "episodes / CPU s"],
        [
            [
                row["case"],
                row["from"],
                f"{row['best_s']:.3f}",
                f"{row['cpu_best_s']:.3f}",
                f"{BATCH.value / row['cpu_best_s']:.2f}",
            ]
            for row in rows
        ],
    )
    settings = {"batch": BATCH.value, "size": SIZE.value, "width": WIDTH.value}
    print(tables.save(OUT.value, facts | settings | {"rows": rows}, "Frozen backbones", lines))


if __name__ == "__main__":
    command.run(main)
