"""`fss serve` and the real Label Studio: five tasks labelled in its editor, masks on all others.

`make studio-test` installs Label Studio into an environment of its own and sets LABEL_STUDIO to it.
With STUDIO_PICTURES=FOLDER the screenshots of docs/label_studio.md are kept there.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import label_studio_server
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from fss_jax.labelling.formats import _thi

sync_api = pytest.importorskip("playwright.sync_api")
if not label_studio_server.PROGRAM:
    pytest.skip("LABEL_STUDIO is not set: make studio-test", allow_module_level=True)

pytestmark = pytest.mark.studio

ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update"
).split()
WAIT, READY = 120_000, "domcontentloaded"  # milliseconds; the page asks others for its fonts
SHOWN, ALL = 5, 9
HEIGHT, WIDTH = 240, 320
BRUSH = 6  # pixels of the picture: half of what the editor's brush covers


def scene(path: Path, seed: int) -> np.ndarray:
    """A photograph-like picture of an orange thing on grass; returns the thing's mask."""
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 256, (HEIGHT // 4, WIDTH // 4, 3)).astype(np.uint8))
    noise = np.asarray(noise.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), float)
    rgb = 0.35 * noise + np.array([40, 90, 40]) + rng.normal(0, 6, (HEIGHT, WIDTH, 3))
    x, y = rng.integers(90, WIDTH - 90), rng.integers(80, HEIGHT - 80)
    w, h = rng.integers(45, 75), rng.integers(40, 65)
    drawn = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(drawn).ellipse((x - w, y - h, x + w, y + h), fill=255)
    mask = np.asarray(drawn) > 0
    light = np.linspace(0.7, 1.2, HEIGHT)[:, None, None]
    thing = np.array([235, 120, 30]) * light + 0.1 * noise + rng.normal(0, 8, (HEIGHT, WIDTH, 3))
    rgb = np.where(mask[..., None], thing, rgb).clip(0, 255).astype(np.uint8)
    Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(0.7)).save(path)
    return mask


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    made = label_studio_server.LabelStudio(tmp_path_factory.mktemp("label_studio"))
    yield made
    made.stop()


class Backend:
    """The command in a process of its own."""

    def __init__(self, folder: Path, studio):
        folder.mkdir()
        key = folder / "studio.key"
        key.write_text(studio.access_token)
        key.chmod(0o600)
        self.folder = folder / "desk"
        self._log = (folder / "serve.log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fss_jax", "serve", f"--folder={self.folder}", "--port=0",
             f"--studio={studio.address}", f"--api_key={key}"],
            env={k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "NPROC")},
            stdout=subprocess.PIPE, stderr=self._log, text=True,
        )  # fmt: skip
        line = self.process.stdout.readline()
        assert line.startswith("connect Label Studio to http://fss:"), line + self.said()
        self.address = line.split()[4]

    def said(self) -> str:
        return Path(self._log.name).read_text()

    def stop(self):
        self.process.terminate()
        self.process.communicate(timeout=60)
        self._log.close()


@pytest.fixture
def backend(studio, tmp_path):
    made = Backend(tmp_path / "serve", studio)
    yield made
    made.stop()


def paint(page, mask: np.ndarray) -> None:
    """Fills a thing with the editor's brush, stroke beside stroke, a little inside its border."""
    page.locator(".konvajs-content canvas").first.wait_for(timeout=WAIT)
    page.get_by_role("button", name="brush-tool").wait_for(timeout=WAIT)
    page.wait_for_timeout(2000)
    for _ in range(60):
        image = page.locator(".konvajs-content").first.bounding_box()
        if image is not None:  # it is drawn anew while the editor loads
            break
        page.wait_for_timeout(500)
    scale_x, scale_y = image["width"] / WIDTH, image["height"] / HEIGHT
    rows = np.flatnonzero(mask.any(1))

    def stroke(row: int) -> None:
        columns = np.flatnonzero(mask[row])
        left, right = columns[0] + BRUSH, columns[-1] - BRUSH
        y = image["y"] + (row + 0.5) * scale_y
        page.mouse.move(image["x"] + left * scale_x, y)
        page.mouse.down()
        page.mouse.move(image["x"] + max(right, left + 1) * scale_x, y, steps=6)
        page.mouse.up()

    for _ in range(20):  # a busy editor takes no key yet, nor a stroke
        page.keyboard.press("1")  # the label
        stroke((rows[0] + rows[-1]) // 2)
        page.wait_for_timeout(700)
        if not page.get_by_text("Labeled regions will appear here").count():
            break
    for row in range(rows[0] + BRUSH, rows[-1] - BRUSH + 1, BRUSH):
        stroke(row)


def keep(page, name: str) -> None:
    """A screenshot for the documentation, where one is wanted."""
    folder = os.environ.get("STUDIO_PICTURES")
    if folder:
        page.wait_for_timeout(3000)
        page.screenshot(path=Path(folder) / f"{name}.png")


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def brush(regions: list[dict]) -> np.ndarray:
    """The union of brush regions, bool [HEIGHT, WIDTH]."""
    found = np.zeros((HEIGHT, WIDTH), bool)
    for region in regions:
        if region["type"] == "brushlabels":
            assert region["value"]["brushlabels"] == ["thing"]
            found |= _thi.decode(region["value"]["rle"], HEIGHT, WIDTH)
    return found


def retrieved(studio, backend, project: int, tasks: list[int], others_than: str = "") -> dict:
    """The predictions of tasks by task, asked for until all are of another version."""
    end = time.monotonic() + 400  # the first call compiles
    while time.monotonic() < end:
        studio.predict(project)
        found = {
            prediction["task"]: prediction
            for prediction in studio.predictions(project)
            if prediction["model_version"] != others_than
        }
        if set(tasks) <= set(found):
            return found
    pytest.fail(f"predictions of {sorted(found)} only\n{backend.said()}\n{studio.said()}")


def test_five_labelled_in_the_editor_the_rest_predicted_and_corrections_come_back(
    studio, backend, tmp_path
):
    pictures = [tmp_path / f"scene_{i}.png" for i in range(ALL)]
    masks = [scene(path, seed) for seed, path in enumerate(pictures)]
    project = studio.project(pictures)
    tasks = [task["id"] for task in studio.tasks(project)]
    truth = dict(zip(tasks, masks, strict=True))
    with sync_api.sync_playwright() as play:
        executable = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = play.chromium.launch(executable_path=executable, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(WAIT)
        page.context.add_cookies(
            [{"name": c.name, "value": c.value, "url": studio.address}
             for c in studio.session.cookies]
        )  # fmt: skip

        # 1. Five tasks in the editor.
        for task in tasks[:SHOWN]:
            page.goto(f"{studio.address}/projects/{project}/data?task={task}", wait_until=READY)
            paint(page, truth[task])
            if task == tasks[0]:
                keep(page, "label_studio_brush")
            page.get_by_role("button", name="Submit").click()
            for _ in range(120):
                if any(t["id"] == task and t["annotations"] for t in studio.tasks(project)):
                    break
                page.wait_for_timeout(500)
        for task in studio.tasks(project)[:SHOWN]:
            (annotation,) = task["annotations"]
            assert iou(brush(annotation["result"]), truth[task["id"]]) > 0.6, task["id"]

        # 2. Masks and scores on the rest, also of what was labelled before there was a backend.
        connection = {"url": backend.address, "project": project, "title": "fss_jax"}
        studio.ask("POST", "/api/ml/", json=connection)
        found = retrieved(studio, backend, project, tasks[SHOWN:])
        for task in tasks[SHOWN:]:
            mask = brush(found[task]["result"])
            assert iou(mask, truth[task]) > 0.5, (task, iou(mask, truth[task]))
            assert 0 < found[task]["score"] <= 1
        page.goto(f"{studio.address}/projects/{project}/data", wait_until=READY)
        page.locator("img[alt=Data]").nth(ALL - 1).wait_for(timeout=WAIT)
        keep(page, "label_studio_tasks")
        page.goto(f"{studio.address}/projects/{project}/data?task={tasks[-1]}", wait_until=READY)
        page.locator(".konvajs-content canvas").first.wait_for(timeout=WAIT)
        keep(page, "label_studio_prediction")
        browser.close()

    # 3. A correction is shown to the model, and changes its version.
    (place,) = backend.folder.glob("project_*")
    assert len(list(place.glob("*.json"))) == SHOWN
    result = [
        {**found[tasks[-1]]["result"][0], "value": {
            "format": "rle", "rle": _thi.encode(truth[tasks[-1]]), "brushlabels": ["thing"]}}
    ]  # fmt: skip
    result[0].pop("score", None)
    made = studio.ask("POST", f"/api/tasks/{tasks[-1]}/annotations/", json={"result": result})
    for _ in range(60):  # by the webhook, before anything is asked for
        if (place / f"{tasks[-1]}.json").is_file():
            break
        time.sleep(0.5)
    assert len(list(place.glob("*.json"))) == SHOWN + 1
    version = found[tasks[SHOWN]]["model_version"]
    again = retrieved(studio, backend, project, tasks[SHOWN:-1], version)
    assert again[tasks[SHOWN]]["model_version"] != version
    studio.ask("DELETE", f"/api/annotations/{made['id']}/")
    for _ in range(60):
        if not (place / f"{tasks[-1]}.json").is_file():
            break
        time.sleep(0.5)
    assert len(list(place.glob("*.json"))) == SHOWN
    assert "Traceback" not in backend.said()
