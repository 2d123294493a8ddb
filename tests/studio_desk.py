"""The backend of Label Studio in a thread, and requests as Label Studio sends them. No Label Studio."""

import base64
import http.client
import http.server
import json
import threading
import time

import numpy as np
from PIL import Image

from fss_jax.labelling.formats import _thi
from fss_jax.labelling.prediction import Prediction
from fss_jax.labelling.segmenter import Segmenter
from fss_jax.labelling.studio import server
from fss_jax.labelling.studio.backend import Backend
from fss_jax.labelling.studio.images import Images

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


def decoded(prediction, shape=(20, 30)):
    (region,) = prediction["result"]
    assert region["from_name"] == "tag" and region["to_name"] == "img"
    return _thi.decode(region["value"]["rle"], *shape)


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
