"""Every builder and what it prepared serve TFDS's own functions, without TensorFlow."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_builders import prepare

ROOT = Path(__file__).parents[2]


def run(script: str, *arguments) -> str:
    """The output of a script in a process where nothing was imported before."""
    command = [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


FIND = """
import importlib, sys
import tensorflow_datasets as tfds
for name in sys.argv[2:]:
    module = importlib.import_module(f"data_builders.{name}")
    builder = tfds.builder(name, data_dir=sys.argv[1], file_format="array_record")
    assert type(builder) is module.Builder
    config = builder.builder_config.name
    assert tfds.builder(f"{name}/{config}", data_dir=sys.argv[1]).builder_config.name == config
    print(builder.name)
assert "tensorflow" not in sys.modules
"""


def test_tfds_finds_every_builder_by_name(tmp_path):
    assert run(FIND, tmp_path, *prepare.names()).split() == prepare.names()


READ = """
import sys
import numpy as np
import tensorflow_datasets as tfds
import data_builders.folder
data, manual = sys.argv[1:]
builder = tfds.builder("folder", data_dir=data, file_format="array_record")
builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual))
for source in (
    tfds.data_source("folder", split="test", data_dir=data, download=False),
    tfds.builder("folder", data_dir=data).as_data_source("test"),
    tfds.builder_from_directory(builder.data_dir).as_data_source("test"),
):
    for example in source:
        name = example["image_id"].decode()
        print(name, example["image"].shape, int(np.asarray(example["label"]).sum()))
assert "tensorflow" not in sys.modules
try:
    tfds.load("folder", data_dir=data)
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
def test_tfds_prepares_and_reads_by_itself(tmp_path):
    mask = np.zeros((30, 40), np.uint8)
    mask[5:10, 5:15] = 255
    for name in ("cup", "pen"):
        for kind in ("images", "masks"):
            (tmp_path / "mine" / name / kind).mkdir(parents=True)
        Image.new("RGB", (40, 30), "blue").save(tmp_path / f"mine/{name}/images/1.jpg")
        Image.fromarray(mask).save(tmp_path / f"mine/{name}/masks/1.png")
    lines = run(READ, tmp_path / "data", tmp_path / "mine").splitlines()
    read = [line for line in lines if line.startswith(("cup/", "pen/"))]
    assert read == ["cup/1 (30, 40, 3) 50", "pen/1 (30, 40, 3) 50"] * 3
    assert "tensorflow" in lines[-1].lower()  # why the documents do not use tfds.load
