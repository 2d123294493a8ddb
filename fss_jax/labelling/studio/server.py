"""The HTTP side of `fss serve`: who may ask what, and how much of it is read."""

import base64
import hmac
import http.server
import json
import logging
import re
import stat
import threading
import urllib.parse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from fss_jax.labelling import job
from fss_jax.labelling.app.guard import known_hosts, plain
from fss_jax.labelling.app.people import stored_key
from fss_jax.labelling.studio.backend import Backend
from fss_jax.labelling.studio.images import Images, Studio
from fss_jax.runtime import locks, messages

USER, KEY = "fss", ".key"
MAX_BODY = 16 * 2**20  # bytes: 10,000 tasks, or the brush masks of a large image
CONNECTIONS = 16
SECONDS = 30  # that a connection may be silent
GET = ("/", "/health")
POST = ("/setup", "/predict", "/webhook", "/train")
_log = logging.getLogger(__name__)


class Refused(Exception):
    def __init__(self, status: int, why: str):
        super().__init__(why)
        self.status = status


class Server(http.server.ThreadingHTTPServer):
    """Serves a backend to whoever knows the key, under the names that it is known by."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, backend: Backend, key: str, host: str, port: int, more_hosts: Iterable[str] = ()
    ):
        self.address_family = 10 if ":" in host else 2  # AF_INET6, AF_INET
        self.backend, self.key = backend, key
        self.hosts = known_hosts(host, more_hosts)
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__((plain(host), port), _Handler)

    def process_request(self, request, client_address):
        """One thread for each connection, and no more of them than CONNECTIONS."""
        if not self._free.acquire(timeout=1):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request, client_address):
        """A visitor who went away is no traceback."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    timeout = SECONDS
    server_version, sys_version = "fss_jax", ""

    def do_GET(self):
        self._answer(self._get)

    def do_POST(self):
        self._answer(self._post)

    def _get(self) -> dict:
        if self._path() not in GET:
            raise Refused(404, "not here")
        return {"status": "UP", "model_class": "fss_jax"}

    def _post(self) -> dict:
        path = self._path()
        if path not in POST:
            raise Refused(404, "not here")
        asked = self._body()
        backend = self.server.backend
        if path == "/setup":
            return backend.setup(asked)
        if path == "/predict":
            return backend.predict(asked)
        return backend.webhook(asked) if path == "/webhook" else {}  # every call learns anew

    def _path(self) -> str:
        return urllib.parse.urlsplit(self.path).path.rstrip("/") or "/"

    def _answer(self, what) -> None:
        try:
            self._check()
            status, said = 200, what()
        except Refused as refused:
            status, said = refused.status, {"error": str(refused)}
        except (ValueError, OSError) as error:
            status, said = 400, {"error": " ".join(str(error).split())}
            _log.warning("%s", said["error"])
        except Exception as error:  # the other requests go on
            status, said = 500, {"error": f"{type(error).__name__}, which is our fault"}
            _log.warning("%s: %s", self.path[:100], error, exc_info=True)
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="fss serve"')
        self.end_headers()
        self.wfile.write(body)

    def _check(self) -> None:
        """Raises Refused before anything of the body is read."""
        hosts = self.headers.get_all("Host") or []
        name = urllib.parse.urlsplit(f"//{hosts[0]}").hostname if len(hosts) == 1 else None
        if name is None or plain(name) not in self.server.hosts:
            raise Refused(400, "this server is not known by that name")
        if self.headers.get("Origin") or self.headers.get("Sec-Fetch-Site", "none") != "none":
            raise Refused(403, "asked for by a web page")
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode().partition(":")[2]
            except ValueError:
                given = ""
        if not hmac.compare_digest(given.encode(), self.server.key.encode()):
            raise Refused(401, f"the key of the folder is needed: user {USER}, password as printed")

    def _body(self) -> dict:
        lengths = self.headers.get_all("Content-Length") or []
        length = lengths[0] if len(lengths) == 1 else ""
        if self.headers.get("Transfer-Encoding") or not (length.isascii() and length.isdigit()):
            raise Refused(411, "the length of the request is needed")
        if len(length) > 12 or int(length) > MAX_BODY:
            raise Refused(413, f"too large: a request may have {MAX_BODY} bytes")
        content = self.rfile.read(int(length))
        try:
            asked = json.loads(content)
        except (ValueError, RecursionError):
            raise Refused(400, "the request is no JSON") from None
        if not isinstance(asked, dict):
            raise Refused(400, "the request is no JSON object")
        return asked

    def log_message(self, format: str, *args: Any) -> None:
        """The paths hold nothing of interest, and may hold a stranger's text."""


def read_token(path: Path | None) -> str:
    """A token from its file, which nobody else may read; '' without one.

    Raises:
      FileNotFoundError, ValueError: no such file; others can read it; it holds no token.
    """
    if path is None:
        return ""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; --api_key is a file that holds a token")
    if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        raise ValueError(f"{path} holds a token and others can read it: chmod 600 {path}")
    token = path.read_text(errors="replace").strip()
    if not re.fullmatch(r"[\w.-]+", token, re.ASCII):
        raise ValueError(f"{path} holds no token: copy it there from Label Studio's account page")
    return token


def serve(
    workdir: Path | None,
    checkpoint: str,
    folder: Path,
    host: str,
    port: int,
    *,
    studio: str,
    api_key: Path | None = None,
    uploads: Path | None = None,
    local_files: Path | None = None,
    known_as: Iterable[str] = (),
    seconds: int | float = 80,
    config: ConfigDict | None = None,
) -> None:
    """Serves until it is stopped; `fss serve --help` says what each argument is.

    Raises:
      ValueError, FileNotFoundError: as `job.open_segmenter`, `Studio` and `Images`; another process
        serves this folder; the port is taken.
    """
    images = Images(Studio(studio, read_token(api_key)), uploads, local_files)
    messages.use_compilation_cache()
    folder.mkdir(parents=True, exist_ok=True)
    with locks.alone(folder, "served by", "--folder"):
        key = stored_key(folder / KEY)
        segmenter = job.open_segmenter(workdir, checkpoint, config)
        backend = Backend(segmenter, folder, images, seconds)
        try:
            server = Server(backend, key, host, port, known_as)
        except OSError as error:
            raise ValueError(f"cannot listen at {host}:{port} ({error.strerror})") from error
        with server:
            shown = f"[{plain(host)}]" if ":" in host else host
            address = f"{shown}:{server.server_address[1]}"
            print(
                f"connect Label Studio to http://{USER}:{key}@{address} "
                "(Settings, Model, Connect Model); Ctrl-C ends it",
                flush=True,
            )
            server.serve_forever()
