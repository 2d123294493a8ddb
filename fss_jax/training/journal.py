"""What a run says of itself while it trains: JSON lines, TensorBoard, and the progress bar."""

import json
import time
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from tensorboardX import SummaryWriter
from tqdm import tqdm

from fss_jax.data.records import EpisodeSampler
from fss_jax.runtime.devices import first, is_lead
from fss_jax.runtime.files import write_text
from fss_jax.scoring import metrics
from fss_jax.training.optimizers import learning_rate


class NonFiniteLoss(ValueError):
    """Training diverged; the last finite checkpoint is on disk."""


class Journal:
    """Metrics of finished dispatches: JSON lines, TensorBoard and the progress bar.

    Values are read one dispatch late, so that the device never waits for the host. Of several processes
    the lead writes; all watch for divergence, and so stop together.

    Attributes:
      unlogged: loss, gradient norm and confusion counts of each step since the last line. They go
        into the checkpoint, so that a resumed run's next line is the mean of all its steps.
    """

    def __init__(
        self,
        workdir: Path,
        config: ConfigDict,
        start: int,
        sampler: EpisodeSampler,
        unlogged: list[list[float]],
    ):
        self.path, self.config, self.sampler = workdir / "metrics.jsonl", config, sampler
        if is_lead() and self.path.exists():
            # What a killed run logged after its last checkpoint goes.
            lines = self.path.read_text().splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]  # the last may be cut off
            kept = [line for line in whole if json.loads(line)["step"] <= start]
            write_text(self.path, "".join(kept))
        self.board = SummaryWriter(str(workdir / "tensorboard")) if is_lead() else None
        self.schedule = learning_rate(config)
        self.unlogged = unlogged
        self.rate = ""
        self.waited, self.since, self.steps_since = 0.0, time.perf_counter(), 0
        self.bar = tqdm(
            total=config.steps * config.batch,
            initial=start * config.batch,
            desc="train",
            unit="ep",
            disable=not is_lead(),
        )

    def add(self, step: int, measured: dict, waited: float) -> None:
        """Takes the metrics of the dispatch that ended at `step`; blocks until it is done.

        Args:
          measured: of `training.make_train_step`, with a leading device axis.
          waited: seconds that the dispatch waited for its data.

        Raises:
          NonFiniteLoss: naming the step and its records.
        """
        measured = first(measured)
        loss, norm, size = (measured[name] for name in ("loss", "grad_norm", "param_norm"))
        bad = np.flatnonzero(~(np.isfinite(loss) & np.isfinite(norm) & np.isfinite(size)))
        if len(bad):
            at = step - len(loss) + int(bad[0])
            batch = self.config.batch
            listed = self.sampler.records(at * batch, min(batch, 4))
            names = "; ".join(
                f"{self.sampler.items[q[0]][0]} <- {','.join(self.sampler.items[i][0] for i in s)}"
                for q, s in zip(listed.query, listed.support, strict=True)
            )
            raise NonFiniteLoss(
                f"the loss became {loss[bad[0]]} at step {at} (norm of the gradient {norm[bad[0]]}, of "
                f"the parameters after it {size[bad[0]]}); its records are positions {at * batch} to "
                f"{at * batch + batch - 1}, first: {names}. "
                "The last finite checkpoint is kept; lower config.lr or set config.clip"
            )
        self.unlogged += np.column_stack([loss, norm, measured["counts"]]).tolist()
        self.waited += waited
        self.steps_since += len(loss)
        self.bar.update(len(loss) * self.config.batch)
        if step % self.config.log_every == 0:
            self._write(step)

    def _write(self, step: int) -> None:
        now = time.perf_counter()
        seconds = now - self.since
        values = np.asarray(self.unlogged)
        loss, norm = values[:, :2].mean(0)
        line = {
            "step": step,
            "loss": float(loss),
            "grad_norm": float(norm),
            "train_iou": float(metrics.iou(values[:, 2:].sum(0))),
            "lr": float(self.schedule(step // self.config.accumulate)),
        }
        if self.steps_since > 0:
            episodes = self.steps_since * self.config.batch / seconds
            line |= {
                "episodes_per_second": episodes,
                "images_per_second": episodes * (self.config.shots + self.config.queries),
                "data_wait": self.waited / seconds,
            }
            self.rate = f"{line['images_per_second']:.0f} img/s wait {line['data_wait']:.0%}"
        self.write(line)
        self.bar.set_postfix_str(f"loss {line['loss']:.4g} iou {line['train_iou']:.3f} {self.rate}")
        self.unlogged, self.waited, self.steps_since, self.since = [], 0.0, 0, now

    def write(self, line: dict) -> None:
        if not self.board:
            return
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        for name, value in line.items():
            if name != "step":
                self.board.add_scalar(name, value, line["step"])

    def restart_clock(self, unmeasured: int = 0) -> None:
        """Leaves what happened since the last line (compiling, validation) out of the rates.

        Args:
          unmeasured: steps that were done in that time and are still to be added.
        """
        self.waited, self.since, self.steps_since = 0.0, time.perf_counter(), -unmeasured

    def close(self) -> None:
        self.bar.close()
        if self.board:
            self.board.close()
