"""What the page answers over HTTP to strangers, to other web pages, and to too much. `make app-test`."""

import http.client
import io
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.parse

import pytest
import toy_pictures
from PIL import Image

pytest.importorskip("gradio")

pytestmark = pytest.mark.app

JSON = {"Content-Type": "application/json"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}


class Page:
    """The command in a process of its own."""

    def __init__(self, folder, *flags, start="open "):
        environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "NPROC")}
        command = [sys.executable, "-m", "fss_jax", "app", f"--folder={folder}", *flags]
        self.folder = folder
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
        )
        line = self.process.stdout.readline()
        if not line.startswith(start):
            pytest.fail(line + self.stop())
        self.address = urllib.parse.urlsplit(line.split()[1])
        self.host = self.address.netloc

    def ask(self, path, method="GET", body=None, host=None, **headers):
        """(status, headers, body) of one request, exactly as it is given."""
        connection = http.client.HTTPConnection(
            self.address.hostname, self.address.port, timeout=60
        )
        try:
            connection.putrequest(method, path, skip_host=True)
            headers = {k.replace("_", "-"): v for k, v in headers.items()}
            for name, value in {"Host": host or self.host, **headers}.items():
                connection.putheader(name, value)
            if body is not None and not {"Content-Length", "Transfer-Encoding"} & headers.keys():
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def visitor(self, query=""):
        """The cookie that a new browser gets."""
        _, headers, _ = self.ask("/" + query)
        return headers["Set-Cookie"].partition(";")[0]

    def uploaded(self, cookie, content=b"x", name="x.png", **headers):
        return self.ask(
            "/gradio_api/upload", "POST", multipart(content, name), Cookie=cookie,
            **MULTIPART, **headers,
        )  # fmt: skip

    def call(self, cookie, function, *data, session="s"):
        """The outcome of an event, by the position of its function."""
        request = {"data": list(data), "fn_index": function, "session_hash": session}
        body = json.dumps(request).encode()
        status, _, said = self.ask("/gradio_api/queue/join", "POST", body, Cookie=cookie, **JSON)
        assert status == 200, said
        _, _, events = self.ask(f"/gradio_api/queue/data?session_hash={session}", Cookie=cookie)
        told = [
            json.loads(line[5:]) for line in events.decode().splitlines() if line[:5] == "data:"
        ]
        (done,) = [e for e in told if e["msg"] == "process_completed"]
        return done["success"], done["output"]

    def functions(self, cookie):
        """Position by name of what events call."""
        config = json.loads(self.ask("/config", Cookie=cookie)[2])
        return {d["api_name"]: d["id"] for d in config["dependencies"]}

    def stop(self, number=signal.SIGKILL):
        """Ends the process; what it said to stderr."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=60)[1]


def multipart(content, name="x.png"):
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
    return head.encode() + b"Content-Type: image/png\r\n\r\n" + content + b"\r\n--x--\r\n"


@pytest.fixture(scope="module")
def page(toy_workdir, tmp_path_factory):
    found = Page(tmp_path_factory.mktemp("desk"), f"--workdir={toy_workdir}")
    yield found
    found.stop()


@pytest.fixture(scope="module")
def owner(page):
    return page.visitor("?" + page.address.query)


CHANGING = ("/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/cancel")
CHANGING += ("/gradio_api/reset", "/gradio_api/component_server", "/login")


@pytest.mark.parametrize("path", CHANGING)
@pytest.mark.parametrize(
    "stranger",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"},
    ],
    ids=str,
)
def test_no_other_web_page_changes_anything(page, owner, path, stranger):
    before = sorted(page.folder.rglob("*"))
    assert page.ask(path, "POST", multipart(b"x"), Cookie=owner, **MULTIPART, **stranger)[0] == 403
    assert sorted(page.folder.rglob("*")) == before


def test_the_page_itself_may_upload_and_links_to_it_work(page, owner):
    own = {"Origin": f"http://{page.host}", "Sec_Fetch_Site": "same-origin"}
    assert page.uploaded(owner, **own)[0] == 200
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert page.ask("/", **link)[0] == 200
    assert page.ask("/config", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0] == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "x@y"]
)
@pytest.mark.parametrize("path", ["/", *CHANGING])
def test_another_name_leads_nowhere(page, owner, host, path):
    method, body = ("GET", None) if path == "/" else ("POST", multipart(b"x"))
    assert page.ask(path, method, body, host=host, Cookie=owner, **MULTIPART)[0] == 400


def test_what_the_page_does_not_need_is_not_there(page, owner):
    for path in ("/gradio_api/run/predict", "/gradio_api/call/predict", "/gradio_api/vibe-edit"):
        assert page.ask(path, "POST", b"{}", Cookie=owner, **JSON)[0] == 404
    assert page.ask("/gradio_api/proxy=http://127.0.0.1:1/", Cookie=owner)[0] == 404
    for method in ("PUT", "DELETE", "PATCH", "TRACE"):
        assert page.ask("/gradio_api/upload", method, b"", Cookie=owner)[0] == 405


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/component_server"])
def test_no_body_is_read_beyond_its_limit(page, owner, path):
    huge = {"Content-Length": str(2**33)}
    assert page.ask(path, "POST", b"", Cookie=owner, **JSON, **huge)[0] == 413
    chunk = b"100000\r\n" + bytes(2**20) + b"\r\n"
    try:
        status, _, _ = page.ask(
            path,
            "POST",
            chunk * 9 + b"0\r\n\r\n",
            Cookie=owner,
            Transfer_Encoding="chunked",
            **JSON,
        )
    except (ConnectionError, http.client.HTTPException):
        status = 413  # closed before it was all sent
    assert status in (400, 413)


def test_no_forwarded_header_comes_back(page, owner):
    for name in ("X_Forwarded_Host", "X_Forwarded_Server", "X_Gradio_Server", "X_Original_Host"):
        for path in ("/", "/config", "/logout", "/theme.css", "/manifest.json"):
            _, headers, body = page.ask(path, Cookie=owner, **{name: "evil.example"})
            assert b"evil.example" not in body and "evil.example" not in str(headers)
    for path in ("/", "/config"):
        _, _, body = page.ask(path, Cookie=owner, X_Forwarded_Proto="https")
        assert f"https://{page.host}".encode() not in body


def png(width, height):
    data = io.BytesIO()
    Image.new("RGBA", (width, height)).save(data, "PNG")
    return data.getvalue()


def memory(process):
    """Bytes that a process has ever held."""
    with open(f"/proc/{process.pid}/status") as file:
        (line,) = [line for line in file if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])


def drawn(paths):
    data = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
    return {"background": data[0], "layers": data, "composite": data[0], "id": None}


def test_layers_are_bounded_before_they_are_decoded(page, owner):
    add = page.functions(owner)["call"]
    large = json.loads(page.uploaded(owner, png(7000, 7000))[2])[0]
    before = memory(page.process)
    for paths in ([large], [large] * 8):
        page.call(owner, add, drawn(paths), None, None, False)
    blob = (
        b'--x\r\nContent-Disposition: form-data; name="data"\r\n\r\n'
        + json.dumps({"type": "layer", "index": 10**9, "id": "a"}).encode() + b"\r\n--x--\r\n"
    )  # fmt: skip
    page.ask("/gradio_api/component_server", "POST", blob, Cookie=owner, **MULTIPART)
    assert memory(page.process) - before < 100 * 2**20


def test_each_browser_has_pictures_of_its_own(page, owner, tmp_path):
    stranger = page.visitor()
    assert stranger != owner and stranger != page.visitor()
    before = set(page.folder.rglob("*.png"))
    other = toy_pictures.write_images(page.folder / "images", 2)
    assert len(list(other.iterdir())) == 2 and set(page.folder.rglob("*.png")) > before
    load = max(page.functions(owner).values())
    for cookie in (owner, stranger):
        done, output = page.call(cookie, load, session=cookie[-6:])
        assert done, output
    people = list((page.folder / "people").iterdir())
    assert len(people) == 1 and not list(people[0].rglob("*.png"))
    done, output = page.call("", load, session="none")
    assert not done  # nobody is not the owner
    key = (page.folder / ".key").stat()
    assert key.st_mode & 0o077 == 0


def test_what_a_session_uploaded_ends_with_the_page(toy_workdir, tmp_path):
    page = Page(tmp_path / "desk", f"--workdir={toy_workdir}")
    owner = page.visitor("?" + page.address.query)
    assert page.uploaded(owner)[0] == 200
    assert [p for p in (page.folder / "served").rglob("*") if p.is_file()]
    second = subprocess.run(
        [sys.executable, "-m", "fss_jax", "app", f"--folder={page.folder}"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert second.returncode == 2 and "is served by process" in second.stderr
    said = page.stop(signal.SIGINT)
    assert not [p for p in (page.folder / "served").rglob("*") if p.is_file()]
    assert "Traceback" not in said


def test_another_host_demands_logins_and_keeps_its_name(toy_workdir, tmp_path):
    flags = [f"--workdir={toy_workdir}", "--host=0.0.0.0"]
    command = [sys.executable, "-m", "fss_jax", "app", f"--folder={tmp_path / 'desk'}"]
    refused = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=300)
    assert refused.returncode == 2 and "--logins FILE" in refused.stderr
    logins = tmp_path / "logins"
    logins.write_text("ann:correct horse\nbob:battery staple\n")
    logins.chmod(0o644)
    refused = subprocess.run(
        [*command, *flags, f"--logins={logins}"], capture_output=True, text=True, timeout=300
    )
    assert refused.returncode == 2 and "chmod 600" in refused.stderr
    logins.chmod(0o600)
    page = Page(tmp_path / "desk", *flags, f"--logins={logins}")
    try:
        assert page.uploaded("")[0] == 401 and page.ask("/config")[0] == 401
        assert page.ask("/", host="evil.example")[0] == 400
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        wrong = page.ask("/login", "POST", b"username=ann&password=wrong", **form)
        assert wrong[0] == 400
        cookies = {}
        for name, password in (("ann", "correct+horse"), ("bob", "battery+staple")):
            body = f"username={name}&password={password}".encode()
            status, headers, _ = page.ask("/login", "POST", body, **form)
            assert status == 200
            said = [h.partition(";")[0] for h in headers.get_all("Set-Cookie")]
            cookies[name] = "; ".join(said)
            assert page.uploaded(cookies[name])[0] == 200
        load = max(page.functions(cookies["ann"]).values())
        assert page.call(cookies["ann"], load, session="a")[0]
        assert not (page.folder / "people").exists()
        assert page.call(cookies["bob"], load, session="b")[0]
        assert len(list((page.folder / "people").iterdir())) == 1
    finally:
        page.stop()


def test_the_sixth_protocol_version_and_a_shared_page(toy_workdir, tmp_path):
    page = Page(tmp_path / "desk", f"--workdir={toy_workdir}", "--host=[::1]", "--shared")
    try:
        assert page.host.startswith("[::1]:") and not page.address.query
        status, headers, body = page.ask("/")
        assert status == 200 and "Set-Cookie" not in headers
        assert b"This page is shared" in body
        assert page.uploaded("", Origin=f"http://{page.host}")[0] == 200
        assert page.uploaded("", Origin="http://evil.example")[0] == 403
        assert page.ask("/", host="evil.example")[0] == 400
    finally:
        page.stop()


def test_fifty_at_a_time_are_answered(page, owner):
    statuses = []

    def many():
        for _ in range(4):
            statuses.append(page.ask("/", Cookie=owner)[0])
            statuses.append(page.uploaded(owner, png(20, 20))[0])

    threads = [threading.Thread(target=many) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(statuses) == 400 and set(statuses) == {200}
