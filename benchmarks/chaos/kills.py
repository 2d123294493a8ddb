"""SIGKILL at random moments of a training and of a labelling; the outcome is compared bit for bit."""

import random
import subprocess
import time
from pathlib import Path

import numpy as np

from benchmarks.chaos.place import Place, finish, kill, start

STEPS = 400


def _killed_until_done(command: list[str], kills: int, seconds: float, rng: random.Random) -> dict:
    """Runs a command, killed so often at random moments of its `seconds`, then to its end."""
    done, early = 0, 0
    while done < kills:
        process = start(command)
        try:
            process.communicate(timeout=rng.uniform(0.1, 1.1) * seconds)
            early += 1  # it was done before: another round has nothing left to do
            break
        except subprocess.TimeoutExpired:
            kill(process)
            done += 1
    code, output = finish(command)
    return {"kills": done, "finished_before_all": bool(early), "code": code, "said": output[-300:]}


def training(place: Place, kills: int, seed: int) -> dict:
    """Kills trainings; as many runs as it takes, since each makes progress between kills."""
    rng = random.Random(seed)
    began = time.monotonic()
    code, output = finish(place.train(place.folder / "whole", STEPS))
    if code:
        return {"ok": False, "why": output[-500:]}
    seconds = time.monotonic() - began
    expected = _leaves(place.folder / "whole")
    done, runs, different = 0, 0, 0
    while done < kills:
        workdir = place.folder / f"killed_{runs}"
        said = _killed_until_done(place.train(workdir, STEPS), kills - done, seconds, rng)
        found = _leaves(workdir) if not said["code"] else {}
        different += found != expected
        done, runs = done + said["kills"], runs + 1
        if runs > kills + 20:
            break
    return {
        "ok": not different and done >= kills, "kills": done, "runs": runs,
        "leaves": len(expected), "runs_that_differ": different,
    }  # fmt: skip


def _leaves(workdir: Path) -> dict[str, list]:
    """Digests of all arrays of the latest checkpoint, the optimizer's included, which they match."""
    from fss_jax.runtime import checkpoints

    return checkpoints.saved_digests(checkpoints.newest_whole(workdir))


def labelling(place: Place, kills: int, seed: int) -> dict:
    rng = random.Random(seed + 1)
    began = time.monotonic()
    code, output = finish(place.label(place.folder / "labels"))
    if code:
        return {"ok": False, "why": output[-500:]}
    seconds = time.monotonic() - began
    expected = _outputs(place.folder / "labels")
    done, runs, different = 0, 0, 0
    while done < kills:
        out = place.folder / f"labels_{runs}"
        said = _killed_until_done(place.label(out), kills - done, seconds, rng)
        found = _outputs(out) if not said["code"] else {}
        different += sum(found.get(name) != data for name, data in expected.items())
        different += len(found.keys() - expected.keys())
        done, runs = done + said["kills"], runs + 1
        if runs > kills + 20:
            break
    return {
        "ok": not different and done >= kills, "kills": done, "runs": runs,
        "files": len(expected), "files_that_differ": different,
    }  # fmt: skip


def _outputs(out: Path) -> dict[str, bytes]:
    """Every file but the log and the lock, hidden ones included: nothing half-written may be left."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name not in ("manifest.jsonl", ".writing.lock")
    }


def flat_memory(place: Place, images: int, seed: int) -> dict:
    """Labels many images and watches the process's memory: the second half may not need more."""
    from PIL import Image

    folder = place.folder / "many"
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for i in range(images):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3)).astype(np.uint8)).save(
            folder / f"{i:05}.jpg"
        )
    out = place.folder / "many_labels"
    process = start(place.label(out, folder), told=False)
    seen: list[tuple[int, int]] = []
    masks = out / "masks"
    while process.poll() is None:
        time.sleep(1)
        count = len(list(masks.iterdir())) if masks.is_dir() else 0
        try:
            text = Path(f"/proc/{process.pid}/status").read_text()
            resident = next(line for line in text.splitlines() if line.startswith("VmRSS"))
            seen.append((count, int(resident.split()[1])))
        except (OSError, StopIteration):
            break
    process.communicate()
    halves = [[kb for n, kb in seen if low * images <= n < high * images]
              for low, high in ((0.1, 0.5), (0.5, 1.0))]  # fmt: skip
    first, second = (max(half, default=0) / 1024 for half in halves)
    return {
        "ok": not process.returncode and bool(first) and second < 1.1 * first, "images": images,
        "MB_first_half": round(first), "MB_second_half": round(second),
    }  # fmt: skip
