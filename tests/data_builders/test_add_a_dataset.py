"""docs/add-a-dataset.md performed: its folder, put beside the others, is prepared and read."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fss_jax.data import datasets

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/add-a-dataset.md"
FILES = re.compile(r'```\w+ title="data_builders/(\S+)"\n(.*?)```', re.S)


@pytest.mark.slow
def test_the_page_s_folder_is_a_dataset(tmp_path):
    shutil.copytree(
        ROOT / "data_builders",
        tmp_path / "data_builders",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    found = FILES.findall(PAGE.read_text())
    assert len(found) == 6
    (tmp_path / "data_builders/shapes").mkdir()
    for name, text in found:
        (tmp_path / "data_builders" / name).write_text(text)
    words = ["shapes", "--config=small", "--option=images=3", f"--data_dir={tmp_path / 'data'}"]
    done = subprocess.run(
        [sys.executable, "-m", "data_builders.prepare", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "3 pictures of each class" in done.stdout
    split = datasets.open_split("shapes/small-images-3", "test", tmp_path / "data")
    assert {split.class_names[number] for _, number in split.items} == {"bar", "cross"}
    image, label = split.read(0)
    assert image.shape == (64, 64, 3) and 0 < label.mean() < 1
