"""Downloads: the first address that answers, quickly or not at all."""

import io
import json
import socket
import time

import pytest
import requests
import tensorflow_datasets as tfds

from data_builders import downloads

FIRST, SECOND = "https://a.example/some.tar", "https://b.example/some.tar"


def manager(tmp_path, **settings) -> tfds.download.DownloadManager:
    return tfds.download.DownloadManager(download_dir=tmp_path / "downloads", **settings)


@pytest.fixture
def network(monkeypatch):
    """Set its entries: address -> bytes, a status code, or an exception to raise."""
    answers = {}

    def get(session, url, **kwargs):
        answer = answers.get(url, requests.ConnectionError("no route"))
        if isinstance(answer, Exception):
            raise answer
        response = requests.Response()
        response.url = url
        response.status_code = answer if isinstance(answer, int) else 200
        response.raw = io.BytesIO(b"" if isinstance(answer, int) else answer)
        return response

    monkeypatch.setattr(requests.Session, "get", get)
    return answers


def test_the_first_address_that_answers_counts(tmp_path, network):
    network |= {FIRST: 503, SECOND: b"good"}
    places = downloads.fetch(manager(tmp_path), {"some.tar": (FIRST, SECOND)})
    assert places["some.tar"].read_bytes() == b"good"
    network[FIRST] = b"better"
    again = downloads.fetch(manager(tmp_path / "new"), {"some.tar": (FIRST, SECOND)})
    assert again["some.tar"].read_bytes() == b"better"


def test_what_was_fetched_needs_no_network(tmp_path, network):
    network[SECOND] = b"good"
    downloads.fetch(manager(tmp_path), {"some.tar": (FIRST, SECOND)})
    network.clear()
    places = downloads.fetch(manager(tmp_path), {"some.tar": (FIRST, SECOND)})
    assert places["some.tar"].read_bytes() == b"good"
    (note,) = (tmp_path / "downloads").glob("*.INFO")
    assert json.loads(note.read_text())["urls"] == [SECOND]


def test_another_file_at_an_address_sends_to_the_next(tmp_path, network):
    network |= {FIRST: b"evil", SECOND: b"good"}
    info = tfds.download.checksums.UrlInfo(
        size=4, checksum="770e607624d689265ca6c44884d0807d9b054d23c473c106c72be9de08b7376c",
        filename="some.tar",
    )  # fmt: skip
    dl_manager = manager(tmp_path, url_infos={FIRST: info, SECOND: info})
    places = downloads.fetch(dl_manager, {"some.tar": (FIRST, SECOND)})
    assert places["some.tar"].read_bytes() == b"good"
    network[SECOND] = b"evil"
    dl_manager = manager(tmp_path / "new", url_infos={FIRST: info, SECOND: info})
    with pytest.raises(ValueError, match="cannot download .*a.example.*b.example.*--manual_dir"):
        downloads.fetch(dl_manager, {"some.tar": (FIRST, SECOND)})


def test_a_dead_network_is_said_in_one_line_before_anything_is_fetched(tmp_path, network):
    network |= {FIRST: 404, "https://c.example/big.zip": b"big"}
    with pytest.raises(ValueError, match="^[^\n]*$") as caught:
        downloads.fetch(
            manager(tmp_path),
            {"big.zip": ("https://c.example/big.zip",), "some.tar": (FIRST, SECOND)},
        )
    message = str(caught.value)
    assert f"{FIRST} (answers 404)" in message
    assert f"{SECOND} (no connection: ConnectionError)" in message
    assert "fetch some.tar by other means" in message and "big.zip by" not in message
    assert "--manual_dir" in message
    assert not [path for path in (tmp_path / "downloads").rglob("*") if path.is_file()]


def test_a_host_that_takes_the_call_and_says_nothing_costs_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/some.tar"
        start = time.monotonic()
        with pytest.raises(ValueError, match="ReadTimeout|no answer in"):
            downloads.fetch(manager(tmp_path), {"some.tar": (url, url + "x")})
        assert time.monotonic() - start < 5


def test_a_name_whose_lookup_hangs_costs_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "SECONDS", 0.3)
    monkeypatch.setattr(requests.Session, "get", lambda *args, **kwargs: time.sleep(3))
    start = time.monotonic()
    with pytest.raises(ValueError, match="no answer in"):
        downloads.fetch(manager(tmp_path), {"some.tar": (FIRST, SECOND)})
    assert time.monotonic() - start < 2
