"""`fss serve` and the real Label Studio: five tasks labelled in its editor, masks on all others.

`make studio-test` installs Label Studio into an environment of its own and sets LABEL_STUDIO to it.
With STUDIO_PICTURES=FOLDER the screenshots of docs/label_studio.md are kept there.
"""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import label_studio_server
import numpy as np
import pytest
from browser import launch
from PIL import Image, ImageDraw, ImageFilter

from fss_jax.labelling.formats import _thi

sync_api = pytest.importorskip("playwright.sync_api")
if not label_studio_server.PROGRAM:
    pytest.skip("LABEL_STUDIO is not set: make studio-test", allow_module_level=True)

pytestmark = pytest.mark.studio

WAIT, READY = 120_000, "domcontentloaded"  # milliseconds; the page asks others for its fonts
PATIENCE = 200_000  # for a call of the backend: Label Studio gives it up after 100 s
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


def until(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Waits for what Label Studio does on its own, as calling a webhook."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.2)


# The editor moves its picture while it loads: it is ready when the same place is seen twice.
AT_REST = """() => {
  const picture = document.querySelector(".konvajs-content");
  const {x, y, width, height} = picture ? picture.getBoundingClientRect() : {};
  const before = window.pictureWas;
  window.pictureWas = [x, y, width, height].join();
  return width > 0 && before === window.pictureWas;
}"""
REGION, DISABLED = ".lsf-outliner-item", re.compile("lsf-tool_disabled")


def edit(studio, page, project: int, task: int) -> None:
    """Opens a task in the editor."""
    page.goto(f"{studio.address}/projects/{project}/data?task={task}", wait_until=READY)
    page.get_by_role("button", name="brush-tool").wait_for()
    page.get_by_test_id("bottombar-submit-button").wait_for()
    page.wait_for_function(AT_REST, polling=500)


def stroke(page, row: int, left: int, right: int) -> None:
    """Draws with the editor's tool along a row of the picture, from one column to another."""
    picture = page.locator(".konvajs-content").first.bounding_box()
    while picture is None:  # it is drawn anew when the last of the task has come
        page.wait_for_function(AT_REST, polling=500)
        picture = page.locator(".konvajs-content").first.bounding_box()
    x, y = picture["x"], picture["y"] + (row + 0.5) * picture["height"] / HEIGHT
    scale = picture["width"] / WIDTH
    page.mouse.move(x + left * scale, y)
    page.mouse.down()
    page.mouse.move(x + right * scale, y, steps=6)
    page.mouse.up()


def paint(page, mask: np.ndarray) -> None:
    """Fills a thing with the editor's brush, stroke beside stroke, a little inside its border."""
    rows = np.flatnonzero(mask.any(1))

    def inside(row: int) -> None:
        columns = np.flatnonzero(mask[row])
        left, right = columns[0] + BRUSH, columns[-1] - BRUSH
        stroke(page, row, left, max(right, left + 1))

    for _ in range(20):  # a busy editor takes no key yet, nor a stroke, or is drawn anew
        page.keyboard.press("1")  # the label
        inside((rows[0] + rows[-1]) // 2)
        with contextlib.suppress(sync_api.TimeoutError):
            page.locator(REGION).first.wait_for(timeout=3000)
            for row in range(rows[0] + BRUSH, rows[-1] - BRUSH + 1, BRUSH):
                inside(row)
            if page.locator(REGION).count():
                return
    pytest.fail("the editor takes no stroke")


def erase(page, mask: np.ndarray, rows: range) -> None:
    """Takes rows of a thing out of the first region, which a prediction made, with the eraser."""
    eraser = page.get_by_role("button", name="eraser", exact=True)
    page.locator(REGION).first.click()
    sync_api.expect(eraser).not_to_have_class(DISABLED, timeout=WAIT)  # a region is selected
    eraser.click()
    sync_api.expect(eraser).to_have_class(re.compile("lsf-tool_active"), timeout=WAIT)
    for row in rows:
        columns = np.flatnonzero(mask[row])
        stroke(page, row, max(columns[0] - 20, 0), min(columns[-1] + 20, WIDTH - 1))


def submit(page) -> None:
    """Presses Submit, until Label Studio has stored the annotation."""
    with page.expect_response(
        lambda answer: (
            answer.request.method == "POST" and re.search(r"/api/tasks/\d+/annotations", answer.url)
        )
    ) as answer:
        page.get_by_test_id("bottombar-submit-button").click()
    assert answer.value.ok, answer.value.status


def select(page, task: int) -> None:
    """Ticks a task in the list."""
    ticked = page.get_by_role("checkbox", name=f"Unselect Task {task}", exact=True)
    for _ in range(10):  # a busy list takes no click yet
        with contextlib.suppress(sync_api.TimeoutError):
            # What is seen lies over it, so that Playwright takes it for covered.
            empty = page.get_by_role("checkbox", name=f"Select Task {task}", exact=True)
            empty.click(force=True, timeout=5000)
        with contextlib.suppress(sync_api.TimeoutError):
            ticked.wait_for(timeout=5000)
            return
    raise sync_api.TimeoutError(f"task {task} cannot be ticked")


def press_predict(studio, page, project: int, tasks: list[int]) -> None:
    """Selects tasks in the list and presses Actions, Retrieve Predictions, OK.

    Raises:
      TimeoutError: of Playwright; the list is too busy, or Label Studio has no answer.
    """
    page.goto(f"{studio.address}/projects/{project}/data", wait_until=READY)
    page.locator("img[alt=Data]").nth(ALL - 1).wait_for()
    for task in tasks:
        select(page, task)
    actions = page.get_by_role("button", name="Tasks Actions")
    actions.filter(has_text=f"{len(tasks)} Task").click()
    page.get_by_text("Retrieve Predictions").click(timeout=30_000)
    confirm = page.get_by_role("button", name="Confirm", exact=True)
    confirm.wait_for(timeout=30_000)
    with page.expect_response(
        lambda answer: (
            "id=retrieve_tasks_predictions" in answer.url and answer.request.method == "POST"
        ),
        timeout=PATIENCE,
    ):
        confirm.click()


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


def retrieved(studio, backend, page, project: int, tasks: list[int], others_than: str = "") -> dict:
    """The predictions of tasks by task, asked for in the page until all are of another version."""
    end, failed = time.monotonic() + 400, ""  # the first call compiles
    while time.monotonic() < end:
        try:
            press_predict(studio, page, project, tasks)
        except sync_api.TimeoutError as error:
            failed = str(error)
        found = {
            prediction["task"]: prediction
            for prediction in studio.predictions(project)
            if prediction["model_version"] != others_than
        }
        if set(tasks) <= set(found):
            return found
    said = f"{failed}\n{backend.said()}\n{studio.said()}"
    pytest.fail(f"predictions of {sorted(found)} only\n{said}")


def test_five_labelled_in_the_editor_the_rest_predicted_and_corrections_come_back(
    studio, backend, tmp_path
):
    pictures = [tmp_path / f"scene_{i}.png" for i in range(ALL)]
    masks = [scene(path, seed) for seed, path in enumerate(pictures)]
    project = studio.project(pictures)
    tasks = [task["id"] for task in studio.tasks(project)]
    truth = dict(zip(tasks, masks, strict=True))
    with sync_api.sync_playwright() as play:
        browser = launch(play)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(WAIT)
        page.context.add_cookies(
            [{"name": c.name, "value": c.value, "url": studio.address}
             for c in studio.session.cookies]
        )  # fmt: skip

        # 1. Five tasks in the editor.
        for task in tasks[:SHOWN]:
            edit(studio, page, project, task)
            paint(page, truth[task])
            if task == tasks[0]:
                keep(page, "label_studio_brush")
            submit(page)
        for task in studio.tasks(project)[:SHOWN]:
            (annotation,) = task["annotations"]
            assert iou(brush(annotation["result"]), truth[task["id"]]) > 0.6, task["id"]

        # 2. Masks and scores on the rest, also of what was labelled before there was a backend.
        connection = {"url": backend.address, "project": project, "title": "fss_jax"}
        studio.ask("POST", "/api/ml/", json=connection)
        found = retrieved(studio, backend, page, project, tasks[SHOWN:])
        for task in tasks[SHOWN:]:
            mask = brush(found[task]["result"])
            assert iou(mask, truth[task]) > 0.5, (task, iou(mask, truth[task]))
            assert 0 < found[task]["score"] <= 1
        page.goto(f"{studio.address}/projects/{project}/data", wait_until=READY)
        page.get_by_text(re.compile(r"Predictions: [1-9]")).wait_for()
        page.locator("img[alt=Data]").nth(ALL - 1).wait_for()
        keep(page, "label_studio_tasks")

        # 3. A correction: the editor opens with the prediction and its score, the eraser takes its
        # lowest rows away. It is shown to the model, and changes its version.
        (place,) = backend.folder.glob("project_*")
        assert len(list(place.glob("*.json"))) == SHOWN
        task, version = tasks[-1], found[tasks[-1]]["model_version"]
        edit(studio, page, project, task)
        page.locator(REGION).first.wait_for()
        score = re.search(r"\d\.\d\d", page.locator(REGION).first.inner_text())
        assert float(score[0]) == pytest.approx(found[task]["score"], abs=0.006)
        keep(page, "label_studio_prediction")
        bottom = np.flatnonzero(truth[task].any(1))[-1]
        erase(page, truth[task], range(bottom - 3 * BRUSH, bottom, BRUSH // 2))
        keep(page, "label_studio_eraser")
        submit(page)
        (made,) = studio.tasks(project)[-1]["annotations"]
        before, after = brush(found[task]["result"]), brush(made["result"])
        assert made["parent_prediction"] == found[task]["id"]
        assert made["result"][0]["origin"] == "prediction-changed"
        assert (before & ~after).sum() > 100 and (after & ~before).sum() < 10
        # By the webhook, before anything is asked for.
        until((place / f"{task}.json").is_file, "the correction is stored")
        assert len(list(place.glob("*.json"))) == SHOWN + 1
        again = retrieved(studio, backend, page, project, tasks[SHOWN:-1], version)
        assert again[tasks[SHOWN]]["model_version"] != version
        for other in tasks[SHOWN:-1]:
            assert iou(brush(again[other]["result"]), truth[other]) > 0.5, other
        browser.close()

    # 4. What is deleted there is forgotten here.
    studio.ask("DELETE", f"/api/annotations/{made['id']}/")
    until(lambda: not (place / f"{task}.json").is_file(), "the correction is forgotten")
    assert len(list(place.glob("*.json"))) == SHOWN
    assert "Traceback" not in backend.said()
