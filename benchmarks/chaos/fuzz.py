"""Mutated files for every reader: what comes is an answer, or one line that says what is wrong."""

import functools
import resource
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

SECONDS = 5  # of computing for one case, so that a busy machine is no fault
MEMORY = 4 * 2**30  # bytes beside what the process has


class TooLong(BaseException):
    pass


def readers(folder: Path, place) -> dict[str, tuple[Callable, list[Path], float]]:
    """By name: reader, files to mutate, and which part of the cases it gets (a child costs more)."""
    import foreign_files as foreign
    import safetensors.numpy
    import toy_pictures

    from fss_jax.labelling import convert, formats, pictures
    from fss_jax.labelling.annotations import ImageMasks
    from fss_jax.labelling.manifest import Manifest
    from fss_jax.weights import caffe_files, keras_files, torch_files

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    arrays = {"a.weight": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
              "a.bias": rng.normal(size=4).astype(np.float32)}  # fmt: skip
    foreign.write_torch_zip(folder / "zip.pth", arrays)
    foreign.write_torch_legacy(folder / "legacy.pth", arrays)
    safetensors.numpy.save_file(arrays, folder / "x.safetensors")
    layers = {"a": [arrays["a.weight"], arrays["a.bias"]]}
    foreign.write_caffe(folder / "x.caffemodel", layers)
    weights = [("kernel:0", arrays["a.weight"]), ("bias:0", arrays["a.bias"])]
    foreign.write_keras(folder / "x.h5", {"a": weights})
    image, mask = toy_pictures.square(3)
    for name in ("x.png", "x.jpg", "x.bmp", "x.webp", "x.gif", "x.tif"):
        Image.fromarray(image).save(folder / name)
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray(mask.astype(np.uint8)).convert("P").save(folder / "palette.png")
    known = ImageMasks("x.png", *mask.shape, {"square": mask}, image=folder / "x.png")
    out = place.labels()

    def manifest(path: Path) -> None:
        home = folder / "log"
        home.mkdir(exist_ok=True)
        path.replace(home / "manifest.jsonl")
        Manifest(home)

    rasters = [folder / f"x.{ending}" for ending in ("png", "jpg", "bmp", "webp", "gif", "tif")]
    found = {
        "torch": (torch_files.read_torch, [folder / "zip.pth", folder / "legacy.pth"], 1.0),
        "safetensors": (torch_files.read_safetensors, [folder / "x.safetensors"], 1.0),
        "caffe": (caffe_files.read_caffe, [folder / "x.caffemodel"], 1.0),
        "images": (pictures.read_image, rasters, 1.0),
        "masks": (pictures.read_mask, [folder / "mask.png", folder / "palette.png"], 1.0),
        "manifest": (manifest, [out / "manifest.jsonl"], 0.3),
        "hdf5": (keras_files.read_keras, [folder / "x.h5"], 0.02),
    }
    for name in formats.names():
        formats.get(name).write(folder / name, [known])
        written = [p for p in (folder / name).rglob("*") if p.suffix in (".json", ".xml")]
        found[f"{name} files"] = (functools.partial(convert.read, kind=name), written, 1.0)
    return {name: value for name, value in found.items() if value[1]}


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes: bits, bytes, cuts, insertions, repeats."""
    data = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(max(len(data), 1)))
        kind = int(rng.integers(6))
        if not data or kind == 0:
            data[at:at] = rng.bytes(int(rng.integers(1, 9)))
        elif kind == 1:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            data[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"])
        elif kind == 3:
            data[at : at + 8] = rng.bytes(min(8, len(data) - at))
        elif kind == 4:
            del data[at : at + int(rng.integers(1, 64))]
        else:
            data[at:at] = data[at : at + int(rng.integers(1, 64))]
    return bytes(data)


def run(place, cases: int, seed: int) -> dict:
    def late(*_):
        raise TooLong

    folder = place.folder / "fuzz"
    known = readers(folder, place)
    share = cases / sum(part for _, _, part in known.values())
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, limits[1]))
    previous = [signal.signal(number, late) for number in (signal.SIGALRM, signal.SIGPROF)]
    counts, faults = {}, []
    warnings.simplefilter("ignore")  # Pillow warns of what it then refuses
    try:
        for number, (name, (read, sources, part)) in enumerate(known.items()):
            texts = [source.read_bytes() for source in sources]
            counts[name] = {"cases": 0, "read": 0, "refused": 0}
            began = time.monotonic()
            for case in tqdm(range(max(int(share * part), 1)), desc=name, unit="file"):
                rng = np.random.default_rng((seed, number, case))
                which = case % len(sources)
                path = folder / f"case{sources[which].suffix}"
                path.write_bytes(mutated(texts[which], rng))
                counts[name]["cases"] += 1
                signal.setitimer(signal.ITIMER_PROF, SECONDS)
                signal.alarm(300)  # a reader that waits, for its child perhaps
                try:
                    read(path)
                    counts[name]["read"] += 1
                except (ValueError, OSError) as error:
                    counts[name]["refused"] += 1
                    if len(str(error).splitlines()) > 1:
                        faults.append(f"{name} {case}: more than a line: {str(error)[:120]!r}")
                except (Exception, TooLong) as error:
                    faults.append(f"{name} {case}: {type(error).__name__}: {str(error)[:120]}")
                finally:
                    signal.setitimer(signal.ITIMER_PROF, 0)
                    signal.alarm(0)
            counts[name]["seconds"] = round(time.monotonic() - began, 1)
    finally:
        for number, handler in zip((signal.SIGALRM, signal.SIGPROF), previous, strict=True):
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, limits)
    total = sum(count["cases"] for count in counts.values())
    return {"ok": not faults, "cases": total, "readers": counts, "faults": faults[:20],
            "fault_count": len(faults)}  # fmt: skip
