"""Chromium for tests: how it starts, the page of `fss app` that it opens, a hand that paints."""

import contextlib
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update"
).split()
WAIT = 300_000  # milliseconds; a shared machine compiles slowly


def launch(play):
    """The machine's Chromium, or Playwright's own."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    return play.chromium.launch(executable_path=executable, args=ARGUMENTS)


@contextlib.contextmanager
def served(folder, *flags):
    """The page's address, served by the command itself."""
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "NPROC")}
    with subprocess.Popen(
        [sys.executable, "-m", "fss_jax", "app", f"--folder={folder}", *flags],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("open http://127.0.0.1:"), line
            yield line.split()[1]
        finally:
            process.terminate()


def centered(path, seed, height=160, width=200):
    """A picture with its square in the middle; returns the square's mask."""
    image = np.random.default_rng(seed).integers(90, 140, (height, width, 3)).astype(np.uint8)
    mask = np.zeros((height, width), bool)
    mask[height // 2 - 20 : height // 2 + 20, width // 2 - 25 : width // 2 + 25] = True
    image[mask] = (220, 40, 40)
    Image.fromarray(image).save(path)
    return mask


def stroke(page, which, across):
    """Paints through the middle of an editor, so many screen pixels to either side."""
    editor = page.locator(f"#{which}")
    editor.scroll_into_view_if_needed()
    box = editor.locator("canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    editor.get_by_role("button", name="Brush", exact=True).click()
    page.mouse.move(x - across, y, steps=6)
    page.wait_for_timeout(1000)  # a busy page would draw from where the pointer came from
    page.mouse.down()
    page.mouse.move(x + across, y, steps=12)
    page.mouse.up()
    page.wait_for_timeout(500)


def wait_for(page, condition, what):
    for _ in range(WAIT // 250):
        if condition():
            return
        page.wait_for_timeout(250)
    pytest.fail(f"waited in vain for {what}")
