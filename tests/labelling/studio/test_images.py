"""What the backend asks of Label Studio: annotations and images, with its token; limits there."""

import http.server
import io
import json
import threading
import time

import numpy as np
import pytest
from PIL import Image
from studio_desk import Desk, Fake, annotation, decoded, task, told

from fss_jax.labelling.studio import server
from fss_jax.labelling.studio.images import Images, Studio


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
