"""A server on this machine that speaks the Hugging Face hub's protocol for downloads.

HEAD and GET /OWNER/NAME/resolve/REVISION/FILE: small files in the answer, weights by a redirect to
another address of the same server, as the hub does with its storage. Headers and error codes are
those that huggingface_hub reads: ETag, X-Repo-Commit, X-Linked-Etag, X-Linked-Size, X-Error-Code.
"""

import contextlib
import dataclasses
import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

_RESOLVE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


@dataclasses.dataclass
class Hub:
    """What the server offers, and what it was asked.

    Attributes:
      files: contents by repository, revision and name.
      commits: the commit of each revision's name; a commit is also a revision.
      gated: repositories that need `token`.
      token: the only token that opens them.
      breaks: how many downloads of weights end half way, before one runs through.
      forged: whether weights arrive with a byte changed.
      requests: (method, path, Range header or None, Authorization header or None) of each request.
      address: of the server.
      storage: the same server by another host's name, as the hub's storage is another host.
    """

    files: dict[tuple[str, str, str], bytes] = dataclasses.field(default_factory=dict)
    commits: dict[str, str] = dataclasses.field(default_factory=dict)
    gated: set[str] = dataclasses.field(default_factory=set)
    token: str = "hf_right"
    breaks: int = 0
    forged: bool = False
    requests: list[tuple] = dataclasses.field(default_factory=list)
    address: str = ""
    storage: str = ""

    def publish(self, repository: str, files: dict[str, bytes], revision: str = "main") -> str:
        """Adds a revision of a repository; returns its commit."""
        commit = hashlib.sha1(repr((repository, sorted(files.items()))).encode()).hexdigest()
        self.commits[f"{repository}@{revision}"] = commit
        for name, content in files.items():
            self.files[repository, commit, name] = content
        return commit

    def downloads(self) -> list[tuple]:
        """The requests for contents of weights."""
        return [r for r in self.requests if r[0] == "GET" and r[1].startswith("/storage/")]


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self._answer()

        def do_GET(self):
            self._answer()

        def _refuse(self, status: int, code: str, **headers: str) -> None:
            self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": code} | headers)

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def _answer(self) -> None:
            authorization = self.headers.get("Authorization")
            asked = (self.command, self.path, self.headers.get("Range"), authorization)
            hub.requests.append(asked)
            if self.path.startswith("/storage/"):
                return self._store(self.path.rpartition("/")[2])
            match = _RESOLVE.fullmatch(unquote(self.path))
            repository = match["repository"] if match else ""
            known = {name for name, _, _ in hub.files}
            if repository not in known:
                # To strangers the hub does not say whether a repository is private or not there.
                return self._refuse(404 if authorization else 401, "RepoNotFound")
            if repository in hub.gated and authorization != f"Bearer {hub.token}":
                return self._refuse(403 if authorization else 401, "GatedRepo")
            revision = match["revision"]
            commit = hub.commits.get(f"{repository}@{revision}", revision)
            if not any(key[:2] == (repository, commit) for key in hub.files):
                return self._refuse(404, "RevisionNotFound")
            content = hub.files.get((repository, commit, match["file"]))
            headers = {"X-Repo-Commit": commit}
            if content is None:
                return self._refuse(404, "EntryNotFound", **headers)
            if not match["file"].endswith(".safetensors"):
                headers["ETag"] = f'"{hashlib.sha1(content).hexdigest()}"'
                return self._send(200, content, headers)
            digest = hashlib.sha256(content).hexdigest()
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            headers["Location"] = f"{hub.storage}/storage/{digest}"
            return self._send(302, b"", headers)

        def _store(self, digest: str) -> None:
            by_digest = {
                hashlib.sha256(content).hexdigest(): content for content in hub.files.values()
            }
            content = by_digest[digest]
            if hub.forged:
                content = content[:-1] + bytes([content[-1] ^ 1])
            whole, start, status, headers = len(content), 0, 200, {"Accept-Ranges": "bytes"}
            name = next(key[2] for key, value in hub.files.items() if value == by_digest[digest])
            headers["Content-Disposition"] = f'inline; filename="{name}";'
            if asked := self.headers.get("Range"):
                start, status = int(asked.removeprefix("bytes=").partition("-")[0]), 206
                headers["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
            content = content[start:]
            if self.command == "GET" and hub.breaks:
                hub.breaks -= 1
                headers["Content-Length"] = str(len(content))
                self.close_connection = True
                content = content[: len(content) // 2]
            self._send(status, content, headers)

    return Handler


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """A hub on a free port of this machine, until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    hub.storage = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
