"""docs/add-a-method.md, performed: its two files in a folder of their own, tested and scored."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fss_jax import Segmenter, methods
from fss_jax.scoring import results

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "add-a-method.md"


@pytest.fixture
def config(tmp_path, monkeypatch, toy_data):
    """The page's config on the toy dataset; its method lies in `tmp_path`."""
    files = re.findall(r'```python title="fss_jax/(\S+)"\n(.*?)```', PAGE.read_text(), re.DOTALL)
    for name, text in files:
        (tmp_path / Path(name).name).write_text(text)
    assert [name for name, _ in files] == ["methods/mean_color.py", "configs/mean_color/plain.py"]
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    found = {}
    exec((tmp_path / "plain.py").read_text(), found)
    (tmp_path / "plain.py").unlink()  # configs lie elsewhere
    config = found["get_config"]()
    config.dataset, config.data_dir = "toy_squares", str(toy_data)
    return config


@pytest.mark.slow
def test_it_is_found_by_its_name_and_scored(config, tmp_path):
    assert methods.get("mean_color").__name__ == "MeanColor"
    assert "mean_color" in methods.taking_undecided()
    for annotation in ("mask", "scribble"):
        scored = results.evaluate(
            tmp_path / "run",
            config=config,
            episodes=12,
            trivial=False,
            device_count=1,
            annotation=annotation,
        )
        assert scored["method"] == "mean_color" and scored["miou"] > 0.5  # squares of one color


@pytest.mark.slow
def test_it_labels(config):
    image = np.full((40, 40, 3), 120, np.uint8)
    image[5:25, 8:30] = (220, 40, 40)
    segmenter = Segmenter.from_config(config)
    segmenter.set_support([image], [(image[..., 0] == 220).astype(np.uint8)])
    found = segmenter.predict(image[::-1])[0].mask
    assert (found == (image[::-1, :, 0] == 220)).mean() > 0.95


@pytest.mark.slow
def test_it_keeps_the_contract(config, tmp_path):
    test = str(ROOT / "tests" / "methods" / "test_conformance.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", test, "-p", "no:xdist", "-k", "mean_color"],
        env=os.environ | {"FSS_JAX_METHODS": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 9
