"""Attacks on the backend of Label Studio, and its limits."""

import base64

import pytest
from PIL import Image
from studio_desk import CONFIG, KEY, MADE, annotation, picture, task, told

from fss_jax.labelling.studio import images
from fss_jax.labelling.studio.images import Images


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
