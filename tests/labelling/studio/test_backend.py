"""The backend of Label Studio against requests as it sends them, and against attacks. No Label Studio
here: `make studio-test` starts the real one."""

import base64
import http.client
import http.server
import io
import json
import threading
import time

import numpy as np
import pytest
from PIL import Image

from fss_jax.labelling import supports
from fss_jax.labelling.formats import _thi
from fss_jax.labelling.prediction import Prediction
from fss_jax.labelling.segmenter import Segmenter
from fss_jax.labelling.studio import control, images, server
from fss_jax.labelling.studio.backend import Backend
from fss_jax.labelling.studio.images import Images, Studio
from fss_jax.scoring.calibration import Calibration

CONFIG = """<View><Image name="img" value="$photo"/>
<BrushLabels name="tag" toName="img"><Label value="cat"/><Label value="dog"/></BrushLabels></View>"""
KEY = "0123456789abcdef" * 2
PROJECT = "7.1700000000"
MADE = "2023-11-14T22:13:20.250000Z"


class Reddish(Segmenter):
    """Without a network: what is red is each class it was shown."""

    wait = 0.0

    def __init__(self):
        pass

    def fingerprint(self):
        return "reddish"

    def set_support(self, found):
        self.found = found

    def stream(self, some):
        for rgb in some:
            time.sleep(self.wait)
            mask = rgb[..., 0] > 200
            probability = np.where(mask, 0.9, 0.1).astype(np.float32)
            names = tuple(self.found)
            yield Prediction(
                dict.fromkeys(names, mask), dict.fromkeys(names, probability),
                dict.fromkeys(names, 1), CALIBRATION,
            )  # fmt: skip


CALIBRATION = None


def picture(path, seed, size=(20, 30)):
    """A gray picture with a red square; returns the square's mask."""
    rng = np.random.default_rng(seed)
    rgb = rng.integers(50, 150, (*size, 3)).astype(np.uint8)
    mask = np.zeros(size, bool)
    row, column = rng.integers(2, 8, 2)
    mask[row : row + 9, column : column + 11] = True
    rgb[mask] = (230, 20, 20)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path)
    return mask


def task(number, name=None, *annotations):
    address = f"/data/upload/7/{name or number}.png"
    return {"id": number, "data": {"photo": address}, "annotations": list(annotations)}


def annotation(number, mask, label="cat", **more):
    region = {
        "type": "brushlabels", "from_name": "tag", "to_name": "img", "original_width": mask.shape[1],
        "original_height": mask.shape[0], "image_rotation": 0,
        "value": {"format": "rle", "rle": _thi.encode(mask), "brushlabels": [label]},
    }  # fmt: skip
    return {"id": number, "result": [region], "was_cancelled": False, **more}


def told(action, **more):
    return {"action": action, "project": {"id": 7, "created_at": MADE}, **more}


class Desk:
    """A server in a thread, the folder of its images, and requests as Label Studio makes them."""

    def __init__(self, folder, studio=None, **more):
        self.media = folder / "media" / "upload"
        self.masks = [picture(self.media / "7" / f"{i}.png", i) for i in range(6)]
        found = Images(studio, None if studio else self.media, **more)
        self.backend = Backend(Reddish(), folder / "desk", found)
        self.server = server.Server(self.backend, KEY, "127.0.0.1", 0)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def ask(self, path, body=None, method=None, raw=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        basic = base64.b64encode(f"fss:{KEY}".encode()).decode()
        default = {"Host": f"127.0.0.1:{self.port}", "Authorization": f"Basic {basic}"}
        content = raw if raw is not None else None if body is None else json.dumps(body).encode()
        if content is not None:
            default["Content-Length"] = str(len(content))
        try:
            connection.putrequest(method or ("GET" if content is None else "POST"), path, True)
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            for name, value in {**default, **headers}.items():
                for one in [] if value is None else [value] if isinstance(value, str) else value:
                    connection.putheader(name, one)
            connection.endheaders(content)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text.startswith(b"{") else text
        finally:
            connection.close()

    def predict(self, *tasks, config=CONFIG):
        status, said = self.ask(
            "/predict", {"tasks": list(tasks), "project": PROJECT, "label_config": config}
        )
        assert status == 200, said
        return said["results"]

    def setup(self, **more):
        return self.ask("/setup", {"project": PROJECT, "schema": CONFIG, **more})


@pytest.fixture
def desk(tmp_path):
    found = Desk(tmp_path)
    yield found
    found.server.shutdown()
    found.server.server_close()


def decoded(prediction, shape=(20, 30)):
    (region,) = prediction["result"]
    assert region["from_name"] == "tag" and region["to_name"] == "img"
    return _thi.decode(region["value"]["rle"], *shape)


def test_annotations_become_supports_and_the_rest_gets_masks_with_scores(desk):
    assert desk.ask("/health")[1]["status"] == "UP"
    status, first = desk.setup()
    assert status == 200
    assert desk.predict(task(5)) == [[]]  # nothing was shown yet
    for i in range(2):
        assert desk.ask("/webhook", told(
            "ANNOTATION_CREATED", task=task(i), annotation=annotation(10 + i, desk.masks[i])
        ))[0] == 200  # fmt: skip
    second = desk.setup()[1]
    assert second != first  # so that Label Studio asks again
    found = desk.predict(task(4), task(5))
    for i, prediction in zip((4, 5), found, strict=True):
        np.testing.assert_array_equal(decoded(prediction), desk.masks[i])
        inside, outside = 0.9 * 99, 0.1 * (600 - 99)  # of its probabilities
        assert prediction["score"] == pytest.approx(inside / (99 + outside), abs=1e-3)
        assert prediction["model_version"] == second["model_version"]
    # The same folder is what `fss label --support` reads.
    (place,) = (desk.backend.folder).glob("project_*")
    shown_images, shown_masks = supports.read(place)["cat"]
    assert [p.name for p in shown_images] == ["0.png", "1.png"]
    np.testing.assert_array_equal(shown_masks[1], desk.masks[1])


def test_the_score_is_the_expected_iou_where_the_model_was_calibrated(desk, monkeypatch):
    class Known(Calibration):
        def __init__(self):
            pass

        def expected_iou(self, confidence, shots):
            return 0.25

    monkeypatch.setattr(f"{__name__}.CALIBRATION", Known())
    (found,) = desk.predict(task(0, None, annotation(1, desk.masks[0])))
    assert found["score"] == 0.25 == found["result"][0]["score"]


def test_corrected_and_deleted_annotations(desk):
    def change(action, **more):
        assert desk.ask("/webhook", told(action, **more))[0] == 200
        return desk.setup()[1]["model_version"]

    empty = desk.setup()[1]["model_version"]
    one = change("ANNOTATION_CREATED", task=task(0), annotation=annotation(1, desk.masks[0]))
    other = change("ANNOTATION_UPDATED", task=task(0), annotation=annotation(1, desk.masks[1]))
    assert len({empty, one, other}) == 3
    assert (
        change("ANNOTATION_UPDATED", task=task(0), annotation=annotation(1, desk.masks[0])) == one
    )
    skipped = annotation(2, desk.masks[1], was_cancelled=True)
    assert change("ANNOTATION_CREATED", task=task(1), annotation=skipped) == one
    for action in ("START_TRAINING", "TASKS_CREATED", "LABEL_LINK_CREATED", "anything"):
        assert change(action, tasks=[{"id": 0}]) == one
    assert change("ANNOTATIONS_DELETED", annotations=[{"id": 1}]) == empty
    many = [task(0), task(1)], [annotation(1, desk.masks[0]), annotation(2, desk.masks[1])]
    both = change("ANNOTATIONS_CREATED", task=many[0], annotation=many[1])
    assert change("TASKS_DELETED", tasks=[{"id": 1}]) == one != both
    assert desk.predict(task(5))[0]["result"]
    # A task that names another image now: the stored one goes.
    moved = {**task(0, 3), "annotations": []}
    change("ANNOTATION_UPDATED", task=moved, annotation=annotation(1, desk.masks[3]))
    desk.predict(task(5))
    (stored,) = desk.backend.folder.rglob("0.png")
    np.testing.assert_array_equal(np.asarray(Image.open(stored))[..., 0] > 200, desk.masks[3])


def test_polygons_where_the_project_has_no_brush_and_only_its_labels(desk):
    config = CONFIG.replace("BrushLabels", "PolygonLabels").replace('<Label value="cat"/>', "")
    (found,) = desk.predict(task(0, None, annotation(1, desk.masks[0])), config=config)
    assert found["result"] == [] and found["score"] == 0
    (found,) = desk.predict(task(0, None, annotation(1, desk.masks[0], "dog")), config=config)
    (region,) = found["result"]
    assert region["type"] == "polygonlabels" and region["value"]["polygonlabels"] == ["dog"]
    xs, ys = np.array(region["value"]["points"]).T
    rows, columns = np.nonzero(desk.masks[0])
    assert (xs.min() * 30 / 100, ys.max() * 20 / 100) == (columns.min(), rows.max() + 1)


def test_one_odd_task_stops_nothing(desk, tmp_path):
    (tmp_path / "media" / "upload" / "7" / "bad.png").write_bytes(b"no picture")
    odd = [
        {"id": 9, "data": {"text": "x"}, "annotations": [annotation(9, desk.masks[0])]},
        None,
        3,
        {},
        {"id": 1},
        {"id": 2, "data": {}},
        {"id": 3, "data": {"photo": 7}},
        task(8, "bad"),
    ]
    shown = task(0, None, annotation(1, desk.masks[0]), {"id": "x"}, None, {"id": 5, "result": 3})
    results = desk.predict(shown, *odd, task(5))
    assert results[1:-1] == [[]] * len(odd)
    np.testing.assert_array_equal(decoded(results[-1]), desk.masks[5])


def test_what_is_not_done_in_time_is_left_for_the_next_call(desk):
    Reddish.wait, desk.backend.seconds = 0.2, 0.5
    try:
        shown = task(0, None, annotation(1, desk.masks[0]))
        results = desk.predict(shown, *(task(i % 6) for i in range(1, 12)))
    finally:
        Reddish.wait = 0.0
    done = [bool(result) for result in results]
    assert len(results) == 12 and done[0] and not done[-1] and done == sorted(done, reverse=True)


BAD = ("", None, "<View/>", "<View", 5, "<!DOCTYPE a [<!ENTITY b 'c'>]>" + CONFIG, "x" * 2**21)


@pytest.mark.parametrize("config", [*BAD, CONFIG.replace("$photo", "http://x/y.png")])
def test_a_configuration_that_does_not_fit_is_told(desk, config):
    status, said = desk.ask("/setup", {"project": PROJECT, "schema": config})
    assert status == 400 and "configuration" in said["error"] and "\n" not in said["error"]


def test_a_comment_in_a_configuration_is_none_of_ours():
    assert (
        control.read(CONFIG.replace("<View>", "<View><!-- a --><Header value='b'/>")).key == "photo"
    )


# Attacks.


def test_nobody_without_the_key(desk):
    wrong = base64.b64encode(b"fss:" + KEY[::-1].encode()).decode()
    for given in (None, "Basic", "Basic ???", f"Basic {wrong}", "Bearer x", f"Bearer {KEY}x", "é"):
        value = given if given is None else given.encode("utf-8").decode("latin-1")
        for path, body in (("/health", None), ("/setup", {}), ("/predict", {}), ("/webhook", {})):
            status, _ = desk.ask(path, body, Authorization=value)
            assert status == 401, (given, path)
    assert desk.ask("/health", Authorization=f"Bearer {KEY}")[0] == 200
    assert not list(desk.backend.folder.glob("project_*"))


def test_no_web_page_and_no_other_name(desk):
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "x@y", ""):
        assert desk.ask("/health", Host=host)[0] == 400
    for stranger in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
    ):
        assert desk.ask("/webhook", told("x"), **stranger)[0] == 403
    for path in ("/", "/metrics", "/../setup", "/setup/x", "//evil.example/setup", "/data"):
        assert desk.ask(path, {})[0] == 404
    for method in ("PUT", "DELETE", "TRACE", "CONNECT"):
        assert desk.ask("/setup", {}, method)[0] == 501


def test_bodies_have_limits(desk):
    assert desk.ask("/predict", {}, Content_Length=str(2**33))[0] == 413
    assert desk.ask("/predict", {}, Content_Length="9" * 5000)[0] == 413
    for length in ("-1", "x", "1e3", "²", ("2", "2"), None):
        if isinstance(length, str):
            length = length.encode().decode("latin-1")
        assert desk.ask("/predict", raw=b"{}", Content_Length=length)[0] == 411
    assert desk.ask("/predict", raw=b"0\r\n\r\n", Transfer_Encoding="chunked")[0] == 411
    for raw in (b"", b"[]", b"{", b"\xff", b"[" * 10**6, b'{"a":' * 10**5, b"1" * 10**4):
        status, said = desk.ask("/webhook", raw=raw)
        assert status == 400 and "\n" not in said["error"]


@pytest.mark.parametrize(
    "project", ["../x", "7/../../x", "", None, 7, "7.1.2", "٣.1", "7.1\n", "9" * 50]
)
def test_a_project_is_a_number_and_no_path(desk, project):
    before = sorted(desk.backend.folder.parent.rglob("*"))
    for path, name in (("/setup", "schema"), ("/predict", "label_config")):
        assert desk.ask(path, {"project": project, name: CONFIG, "tasks": []})[0] == 400
    told_project = {"id": project, "created_at": MADE}
    status, _ = desk.ask("/webhook", {"action": "ANNOTATION_CREATED", "project": told_project})
    assert status == 400 or project == 7
    assert sorted(desk.backend.folder.parent.rglob("*")) == before


def test_a_task_is_a_number_and_no_path(desk):
    for number in ("../../x", None, True, 1.5, ["a"], {"b": 1}):
        body = told(
            "ANNOTATION_CREATED",
            task={**task(0), "id": number},
            annotation=annotation(1, desk.masks[0]),
        )
        assert desk.ask("/webhook", body)[0] == 200
    assert not list(desk.backend.folder.rglob("*.json"))


OUTSIDE = (
    "/data/upload/../../secret.png", "/data/upload/7/../../../secret.png", "/data/upload//etc/passwd",
    "/data/upload/%2e%2e/%2e%2e/secret.png", "/data/upload/7/..%2f..%2f..%2fsecret.png",
    "/data/upload/7/link.png", "/data/upload/7/folder/secret.png", "/data/upload/7", "/data/upload/",
    "/data/upload/7/0.png\0.jpg", "..\\..\\secret.png", "/data/upload/..\\..\\secret.png",
    "/etc/passwd", "file:///etc/passwd", "/data/local-files/?d=../secret.png",
    "/data/local-files/?d=/etc/passwd", "/data/local-files/?d=%2e%2e%2fsecret.png",
    "/data/local-files/", "data:image/png;base64,AAAA", "s3://bucket/x.png", "x" * 5000, "",
)  # fmt: skip


@pytest.mark.parametrize("address", OUTSIDE, ids=lambda text: text[:40])
def test_no_path_leads_out_of_the_folders(tmp_path, address):
    picture(tmp_path / "secret.png", 1)
    for folder in ("up", "local"):
        picture(tmp_path / folder / "7" / "0.png", 1)
    (tmp_path / "up" / "7" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "up" / "7" / "folder").symlink_to(tmp_path)
    found = Images(None, tmp_path / "up", tmp_path / "local")
    assert found.read("/data/upload/7/0.png").shape == (20, 30, 3)
    assert found.read("/data/local-files/?d=7/0.png").shape == (20, 30, 3)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        found.read(address)
    assert "\n" not in str(caught.value)


def test_images_have_limits(tmp_path, monkeypatch):
    Image.new("1", (9000, 9000)).save(tmp_path / "wide.png")
    (tmp_path / "long.png").write_bytes(bytes(images.MAX_BYTES + 1))
    found = Images(None, tmp_path)
    for name, words in (("wide", "pixels"), ("long", "limit")):
        with pytest.raises(ValueError, match=words):
            found.read(f"/data/upload/{name}.png")


class Fake(http.server.BaseHTTPRequestHandler):
    """Stands for a Label Studio: `answers` by path, and what it was asked."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        status, headers, body = self.server.answers.get(self.path.partition("?")[0], (404, {}, b""))
        if self.server.wanted and self.headers.get("Authorization") not in self.server.wanted:
            status, headers, body = 401, {}, b""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        for part in [body] if isinstance(body, bytes) else body:
            try:
                self.wfile.write(part)
            except OSError:
                return

    def do_POST(self):
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, given))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"access": f"bought{len(self.server.asked)}"}).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def fake():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    made.answers, made.asked, made.wanted = {}, [], ()
    made.address = f"http://127.0.0.1:{made.server_address[1]}"
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_annotations_and_images_come_from_label_studio_with_the_token(fake, tmp_path):
    desk = Desk(tmp_path, Studio(fake.address, "legacy"))
    fake.wanted = ("Token legacy",)
    for i in range(6):
        body = (desk.media / "7" / f"{i}.png").read_bytes()
        fake.answers[f"/data/upload/7/{i}.png"] = (200, {}, body)
    path = "/api/projects/7/export"
    fake.answers[path] = 200, {}, json.dumps([task(0, None, annotation(1, desk.masks[0]))]).encode()
    try:
        np.testing.assert_array_equal(decoded(desk.predict(task(5))[0]), desk.masks[5])
        one = desk.setup()[1]
        fake.answers[path] = 200, {}, b"[]"  # deleted there: forgotten here
        assert desk.setup()[1] != one and desk.predict(task(5)) == [[]]
        fake.answers[path] = 200, {}, b"{not json"  # what it told stays
        desk.ask(
            "/webhook",
            told("ANNOTATION_CREATED", task=task(1), annotation=annotation(3, desk.masks[1])),
        )
        assert desk.predict(task(5))[0]["result"]
    finally:
        desk.server.shutdown()
        desk.server.server_close()


def test_a_personal_access_token_buys_one_that_opens(fake):
    fake.answers["/x"] = (200, {}, b"found")
    studio = Studio(fake.address, "a.b.c")
    fake.wanted = ("Bearer bought1", "Bearer bought2")
    assert studio.get("/x", 100, 5) == b"found" and studio.get("/x", 100, 5) == b"found"
    assert fake.asked[0] == ("/api/token/refresh/", {"refresh": "a.b.c"})
    fake.wanted = ("Bearer bought5",)  # the first one is over
    assert studio.get("/x", 100, 5) == b"found"
    fake.wanted = ("Bearer never",)
    with pytest.raises(ValueError, match="--api_key FILE"):
        studio.get("/x", 100, 5)


def test_no_other_server_is_asked_and_no_redirect_followed(fake, tmp_path):
    secret = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    secret.answers, secret.asked, secret.wanted = {}, [], ()
    threading.Thread(target=secret.serve_forever, args=(0.05,), daemon=True).start()
    other = f"http://127.0.0.1:{secret.server_address[1]}"
    found = Images(Studio(fake.address, "legacy"))
    for address in (
        f"{other}/data/upload/x.png", f"//127.0.0.1:{secret.server_address[1]}/data/upload/x.png",
        f"http://a@{fake.address[7:]}/data/upload/x.png", f"{fake.address}/api/users",
        f"{fake.address}@evil.example/data/upload/x.png", f"{fake.address}/data/upload/../../api/users",
        "/data/upload/%2e%2e/%2e%2e/api/users", "/data/local-files/?d=../../x",
    ):  # fmt: skip
        with pytest.raises(ValueError):
            found.read(address)
    assert fake.asked == []
    fake.answers["/data/upload/x.png"] = (302, {"Location": f"{other}/x.png"}, b"")
    with pytest.raises(ValueError, match="302"):
        found.read("/data/upload/x.png")
    assert secret.asked == []
    secret.shutdown()
    secret.server_close()


def test_what_label_studio_sends_has_limits(fake):
    studio = Studio(fake.address, "legacy")
    fake.answers["/long"] = (200, {}, (bytes(2**20) for _ in range(1000)))
    with pytest.raises(ValueError, match="more than"):
        studio.get("/long", 2**21, 30)

    def slowly():
        while True:
            time.sleep(0.1)
            yield bytes(2**20)

    fake.answers["/slow"] = (200, {}, slowly())
    start = time.monotonic()
    with pytest.raises(ValueError, match="or 1 s"):
        studio.get("/slow", 2**40, 1)
    assert time.monotonic() - start < 10
    packed = io.BytesIO()
    Image.new("1", (20000, 20000)).save(packed, "PNG")
    fake.answers["/data/upload/bomb.png"] = (200, {}, packed.getvalue())
    with pytest.raises(ValueError, match="pixels"):
        Images(studio).read("/data/upload/bomb.png")
    for address in ("localhost:8080", "ftp://x", "http://", "http://user:word@x"):
        with pytest.raises(ValueError, match="--studio"):
            Studio(address)


def test_a_token_is_in_a_file_that_nobody_else_reads(tmp_path):
    path = tmp_path / "key"
    with pytest.raises(FileNotFoundError, match="--api_key"):
        server.read_token(path)
    path.write_text("a.b-c_1\n")
    path.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        server.read_token(path)
    path.chmod(0o600)
    assert server.read_token(path) == "a.b-c_1" and server.read_token(None) == ""
    for text in ("", "two words", "a\nb", "\xff"):
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match="holds no token"):
            server.read_token(path)
