"""The web page in a real browser: paint, predict, correct, predict again, export. `make app-test`."""

import contextlib
import json
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
import zipfile

import numpy as np
import pytest
import toy_pictures
from browser import WAIT, centered, launch, served, stroke, wait_for
from PIL import Image

sync_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("gradio")

from data_builders.masks import read_mask  # noqa: E402
from fss_jax import Segmenter  # noqa: E402
from fss_jax.labelling import convert  # noqa: E402
from fss_jax.labelling.app import keys, view  # noqa: E402
from fss_jax.labelling.sample import PICTURES  # noqa: E402

pytestmark = pytest.mark.app


@pytest.fixture(scope="module")
def server(toy_workdir, tmp_path_factory):
    """(address without the owner's key, folder) of the page."""
    folder = tmp_path_factory.mktemp("desk")
    with served(folder, f"--workdir={toy_workdir}") as address:
        yield address.partition("?")[0], folder


def test_paint_predict_correct_predict_again_and_export(server, toy_workdir, tmp_path):
    address, folder = server
    truth = centered(tmp_path / "example.png", 0)
    for i in range(3):
        centered(tmp_path / f"query_{i}.png", i + 1)
    outside = []
    with sync_api.sync_playwright() as play:
        browser = launch(play)
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.set_default_timeout(WAIT)
        page.on("request", lambda request: outside.append(request.url))
        page.goto(f"{address}?key={(folder / '.key').read_text().strip()}")
        chooser = page.locator("#example-file input[type=file]")
        chooser.wait_for(state="attached", timeout=WAIT)

        # 1. Paint over the object, and add the picture to the examples.
        chooser.set_input_files(tmp_path / "example.png")
        page.locator("#example-file >> text=example.png").wait_for(timeout=WAIT)
        page.wait_for_timeout(2000)
        stroke(page, "paint", 60)
        page.get_by_role("button", name="Add to the examples").click()
        support = folder / "support" / "label" / "1.png"
        wait_for(page, support.exists, "the example")
        mask = read_mask(support)
        assert mask.shape == truth.shape and mask[truth.shape[0] // 2, truth.shape[1] // 2]
        rows, columns = np.nonzero(mask)
        assert abs(rows.mean() - 80) < 8 and abs(columns.mean() - 100) < 8
        assert np.ptp(columns) > np.ptp(rows)  # the stroke went across
        assert (mask & truth).sum() > 0.4 * mask.sum()

        # 2. Find it in the other pictures.
        files = [tmp_path / f"query_{i}.png" for i in range(3)]
        page.locator("#image-files input[type=file]").set_input_files(files)
        page.locator("#image-files >> text=query_2").wait_for(timeout=WAIT)
        page.get_by_role("button", name="Find it in all images").click()
        page.locator("#told >> text=Labelled images: 3; examples: 1").wait_for(timeout=WAIT)
        segmenter = Segmenter.from_checkpoint(toy_workdir)
        segmenter.set_support(str(tmp_path / "example.png"), mask)
        for i, found in enumerate(segmenter.predict(list(map(str, files)))):
            answer = read_mask(folder / "labels" / "masks" / f"query_{i}.png")
            assert (answer ^ found.mask).mean() < 0.01

        # 3. Correct the least sure one with the brush, use it as an example, predict again.
        page.locator("#overlays .thumbnail-item").first.click()
        page.locator("text=Correct query_").wait_for(timeout=WAIT)
        page.wait_for_timeout(3000)
        name = page.locator("p:has-text('Correct query_') strong").inner_text()
        path = folder / "labels" / "masks" / name
        before = read_mask(path)
        stroke(page, "fix", 60)
        page.get_by_role("button", name="Save it and use it as an example").click()
        wait_for(page, (folder / "support" / "label" / "2.png").exists, "the second example")
        corrected = read_mask(path)
        assert corrected[80, 100] and (corrected & before).sum() == before.sum()
        assert (corrected ^ before).any()
        others = [file.name for file in files if file.name != name]
        page.get_by_role("button", name="Find it again").click()
        page.locator("#told >> text=Labelled images: 2; examples: 2").wait_for(timeout=WAIT)
        np.testing.assert_array_equal(read_mask(path), corrected)
        again = [str(tmp_path / "example.png"), str(folder / "images" / name)]
        segmenter.set_support(again, [mask, corrected])
        for other in others:
            found = segmenter.predict(str(tmp_path / other))[0].mask
            answer = read_mask(folder / "labels" / "masks" / other)
            assert (answer ^ found).mean() < 0.01

        # 4. Export, and compare what came out.
        page.get_by_role("button", name="Export masks").click()
        link = page.locator("#exported a[download]").first
        link.wait_for(timeout=WAIT)
        with page.expect_download(timeout=WAIT) as download:
            link.click()
        download.value.save_as(tmp_path / "labels.zip")
        if os.environ.get("FSS_JAX_SCREENSHOT"):
            page.evaluate("document.querySelectorAll('canvas')[0].scrollIntoView()")
            page.screenshot(path=os.environ["FSS_JAX_SCREENSHOT"], full_page=True)
        browser.close()
    with zipfile.ZipFile(tmp_path / "labels.zip") as archive:
        archive.extractall(tmp_path / "labels")
    from_coco = {i.file_name: i for i in convert.read(tmp_path / "labels/annotations.json")[0]}
    for file in files:
        exported = read_mask(tmp_path / "labels" / "masks" / file.name)
        np.testing.assert_array_equal(exported, read_mask(folder / "labels" / "masks" / file.name))
        in_coco = from_coco[file.name].masks.get("object", np.zeros_like(exported))
        np.testing.assert_array_equal(in_coco, exported)
    np.testing.assert_array_equal(read_mask(tmp_path / "labels" / "masks" / name), corrected)

    # Nothing was asked of anybody else.
    hosts = {urllib.parse.urlsplit(url).netloc for url in outside if url.startswith("http")}
    assert hosts == {urllib.parse.urlsplit(address).netloc}


def test_many_pictures_by_key(server, tmp_path):
    """A page of them at a time; next, accept, undo, find again and the brush's width by key alone."""
    address, folder = server
    before = set(folder.glob("people/*"))
    centered(tmp_path / "example.png", 0)
    with sync_api.sync_playwright() as play:
        browser = launch(play)
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.set_default_timeout(WAIT)
        page.goto(address)  # without the key: a person of their own
        sample = page.get_by_role("button", name="Try it with rendered pictures")
        sample.wait_for(timeout=WAIT)
        page.wait_for_timeout(3000)
        sample.click()
        page.locator("#told >> text=The pictures are there").wait_for(timeout=WAIT)
        (desk,) = set(folder.glob("people/*")) - before
        for i in range(view.PAGE):
            centered(desk / "images" / f"many_{i:02}.png", i, 40, 50)
        page.keyboard.press("f")
        page.locator(f"#told >> text=Labelled images: {view.PAGE + PICTURES}").wait_for(
            timeout=WAIT
        )
        count = page.locator("#overlays .thumbnail-item").count
        page.locator(f"#where >> text=1 to {view.PAGE} of {view.PAGE + PICTURES}").wait_for()
        wait_for(page, lambda: count() == view.PAGE, "a page of pictures")
        page.get_by_role("button", name="Pictures after").click()
        page.locator(f"#where >> text={view.PAGE + 1} to {view.PAGE + PICTURES} of").wait_for()
        wait_for(page, lambda: count() == PICTURES, "the rest of the pictures")

        def title():
            return page.locator("p:has-text('Correct ') strong").first.inner_text()

        page.keyboard.press("n")  # none is chosen: the first of all
        page.locator("text=Correct ").first.wait_for(timeout=WAIT)
        first = title()
        page.keyboard.press("n")
        wait_for(page, lambda: title() != first, "the next picture")
        second = title()
        assert count() == view.PAGE  # the page that was left is shown again, then stays
        page.keyboard.press("p")
        wait_for(page, lambda: title() == first, "the picture before")
        page.wait_for_timeout(3000)
        page.keyboard.press("]")
        brush = page.locator("#fix input[type=range]")
        brush.wait_for(state="attached")
        width = int(brush.input_value())
        page.keyboard.press("]")
        wait_for(page, lambda: int(brush.input_value()) == width + keys.STEP, "a larger brush")
        stroke(page, "fix", 30)
        tools = page.locator("#fix").get_by_role
        wait_for(page, tools("button", name="Undo").is_enabled, "a stroke to undo")
        page.keyboard.press("z")
        wait_for(page, tools("button", name="Redo").is_enabled, "the stroke undone")
        page.keyboard.press("a")
        wait_for(page, lambda: title() == second, "the picture after the accepted one")
        table = (desk / "labels" / "labels.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in table if "corrected by hand" in line] == [first]
        if os.environ.get("FSS_JAX_SCREENSHOT"):
            path = os.environ["FSS_JAX_SCREENSHOT"].replace(".png", "_keys.png")
            page.screenshot(path=path, full_page=True)
        browser.close()


def test_photographs_by_the_default(shared, tmp_path):
    """Two elephants shown, the others found, with the IoU to expect of each."""
    found = shared / "data/fss1000_subset/fewshot_data/african_elephant"
    numbers = sorted(path.stem for path in found.glob("*.jpg"))
    for n in numbers[:2]:
        for kind, ending in (("image", "jpg"), ("label", "png")):
            place = tmp_path / "support" / kind
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(found / f"{n}.{ending}", place)
    (tmp_path / "images").mkdir()
    for n in numbers[2:]:
        shutil.copy(found / f"{n}.jpg", tmp_path / "images")
    with served(tmp_path) as address, sync_api.sync_playwright() as play:
        browser = launch(play)
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.set_default_timeout(WAIT)
        page.goto(address)
        page.get_by_role("button", name="Find it in all images").wait_for(timeout=WAIT)
        page.wait_for_timeout(3000)
        page.get_by_role("button", name="Find it in all images").click()
        page.locator("#told >> text=Labelled images: 3; examples: 2").wait_for(timeout=WAIT)
        page.locator("#overlays >> text=expected IoU").first.wait_for()
        page.keyboard.press("n")
        page.locator("text=Correct ").first.wait_for(timeout=WAIT)
        page.wait_for_timeout(3000)
        if os.environ.get("FSS_JAX_SCREENSHOT"):
            path = os.environ["FSS_JAX_SCREENSHOT"].replace(".png", "_photos.png")
            page.screenshot(path=path, full_page=True)
        browser.close()
    for n in numbers[2:]:
        mask, truth = (read_mask(p / f"{n}.png") for p in (tmp_path / "labels" / "masks", found))
        assert (mask & truth).sum() / (mask | truth).sum() > 0.7


def give(page, which, path, shown):
    """Uploads a file until the page shows something: a page that is still loading may miss it."""
    chooser = page.locator(f"#{which} input[type=file]")
    chooser.wait_for(state="attached", timeout=WAIT)
    for _ in range(10):
        chooser.set_input_files(path)
        with contextlib.suppress(sync_api.TimeoutError):
            page.locator(shown).first.wait_for(timeout=WAIT // 10)
            return
    pytest.fail(f"{path.name} was given in vain")


def test_a_mask_with_several_ids_is_chosen_from(server, tmp_path):
    """The page says what it found and in which field the choice is made; nothing is guessed."""
    address, folder = server
    before = set(folder.glob("people/*"))
    truth = centered(tmp_path / "example.png", 0)
    ids = truth.astype(np.uint8)
    ids[:10, :10] = 2
    Image.fromarray(ids).save(tmp_path / "ids.png")
    with sync_api.sync_playwright() as play:
        browser = launch(play)
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.set_default_timeout(WAIT)
        page.goto(address)  # without the key: a person of their own
        give(page, "example-file", tmp_path / "example.png", "#example-file >> text=example.png")
        page.wait_for_timeout(2000)
        give(page, "mask-file", tmp_path / "ids.png", "text=in 'Values of the object': 1,2")
        if os.environ.get("FSS_JAX_SCREENSHOT"):
            page.screenshot(path=os.environ["FSS_JAX_SCREENSHOT"].replace(".png", "_mask.png"))
        page.get_by_text("If the mask has several values or colors").click()
        page.locator("#mask-0 input, #mask-0 textarea").first.fill("1")
        page.locator("#mask-0 input, #mask-0 textarea").first.press("Enter")
        page.wait_for_timeout(3000)
        page.get_by_role("button", name="Add to the examples").click()
        (desk,) = set(folder.glob("people/*")) - before
        wait_for(page, (desk / "support/label/1.png").exists, "the example")
        browser.close()
    np.testing.assert_array_equal(read_mask(desk / "support/label/1.png"), truth)


def get(url, **headers):
    """(status, headers, body) of a request."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def upload(address, name, data):
    body = (
        (
            f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        + data
        + b"\r\n--x--\r\n"
    )
    request = urllib.request.Request(
        f"{address}gradio_api/upload",
        body,
        {"Content-Type": "multipart/form-data; boundary=x"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, None


def test_no_other_file_is_served(server, toy_workdir, tmp_path):
    address, folder = server
    toy_pictures.write_images(folder / "images", 1)
    metadata = next(toy_workdir.rglob("metadata"))
    for path in (
        "/etc/passwd",
        str(metadata),
        str(folder / "images" / "0.png"),
        f"{folder}/served/../images/0.png",
        f"{folder}/served/..%2fimages%2f0.png",
        f"{folder}/served/%2e%2e/images/0.png",
        "setup.cfg",
        __file__,
        "http://127.0.0.1:1/x",
        "file:///etc/passwd",
    ):
        for route in ("gradio_api/file=", "file=", "gradio_api/file/", "static/", "assets/"):
            status, _, _ = get(address + route + path)
            assert status >= 400, (route, path)


def test_a_path_in_a_request_reads_no_file(server):
    """A page's request may name an uploaded file; any other file is refused, not copied."""
    address, folder = server
    secret = folder / "images" / "secret.png"
    Image.new("RGB", (8, 8), (1, 2, 3)).save(secret)
    served = set((folder / "served").rglob("*"))
    for path in (str(secret), "/etc/passwd", f"{folder}/served/../images/secret.png"):
        data = [{"path": path, "meta": {"_type": "gradio.FileData"}}]
        request = {"data": data, "fn_index": 0, "session_hash": "spy"}
        body = json.dumps(request).encode()
        header = {"Content-Type": "application/json"}
        try:
            urllib.request.urlopen(
                urllib.request.Request(f"{address}gradio_api/queue/join", body, header)
            )
        except urllib.error.HTTPError as error:
            assert error.code >= 400
            continue
        _, _, events = get(f"{address}gradio_api/queue/data?session_hash=spy")
        done = [
            json.loads(line[5:]) for line in events.decode().splitlines() if line[:5] == "data:"
        ]
        assert [e["success"] for e in done if e["msg"] == "process_completed"] == [False]
    assert {p for p in (folder / "served").rglob("*") if p.stat().st_size} <= served


def test_uploads_are_bounded_and_never_run(server, tmp_path):
    address, folder = server
    status, _ = upload(address, "huge.png", bytes(51 * 2**20))
    assert status == 413
    assert not [p for p in folder.rglob("*") if p.is_file() and p.stat().st_size > 2**20]
    for name in ("page.html", "page.svg"):
        status, paths = upload(address, name, b"<svg onload=alert(1)><script>alert(1)</script>")
        if status == 200:
            status, headers, _ = get(f"{address}gradio_api/file={paths[0]}")
            inline = headers.get("Content-Disposition", "inline").startswith("inline")
            assert status >= 400 or not inline
            assert status >= 400 or headers["X-Content-Type-Options"] == "nosniff"
    status, paths = upload(address, "../../../evil.png", b"x")
    assert status != 200 or paths[0].startswith(str(folder / "served"))


def test_only_this_computer_is_answered(server):
    address, _ = server
    assert get(address)[0] == 200
    assert get(address, Host="evil.example")[0] == 400
    assert "default-src 'self'" in get(address)[1]["Content-Security-Policy"]
