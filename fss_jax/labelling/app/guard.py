"""What the page answers to whom: ASGI middleware before gradio, which trusts its visitors more.

A web page of somebody else must not make the browser of a person here change anything, a name of
somebody else must not lead here, and no request may fill the memory or the disk.
"""

import os
import socket
import urllib.parse
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from data_builders.pictures import FORMATS
from fss_jax.labelling.app.people import People
from fss_jax.labelling.workbench import MAX_PIXELS

MAX_JSON = 8 * 2**20  # bytes of a request that is no upload: names of 20,000 uploaded files
CHANGES = (  # all that the page needs; gradio has more
    *("/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset", "/login"),
    *("/gradio_api/component_server", "/gradio_api/upload"),
)
UPLOAD = "/gradio_api/upload"
NEVER = ("/proxy=", "/gradio_api/proxy=", "/gradio_api/dev/", "/monitoring", "/gradio_api/vibe")
# Who sends these is no proxy of ours; gradio would put them into the addresses that it answers with.
_FORWARDED = (b"forwarded", b"x-forwarded-", b"x-original-", b"x-real-ip", b"x-gradio-server")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
LOCAL = ("127.0.0.1", "localhost", "::1")


def plain(host: str) -> str:
    """A host without the brackets of an IPv6 address, in lower case."""
    return host.strip().removeprefix("[").removesuffix("]").lower()


def is_local(host: str) -> bool:
    """Whether a page at this address can only be opened on this computer."""
    return plain(host) in LOCAL or plain(host).startswith("127.")


def known_hosts(host: str, more: Iterable[str] = ()) -> frozenset[str]:
    """The names by which a page that listens at `host` may be asked for."""
    names = [*LOCAL, host, *more]
    if plain(host) in ("0.0.0.0", "::"):  # of all networks: by any name or address of this computer
        names += [socket.gethostname(), socket.getfqdn()]
        try:
            names += [str(i[4][0]) for i in socket.getaddrinfo(socket.gethostname(), None)]
        except OSError:
            pass
    return frozenset(map(plain, names))


class _Refused(Exception):
    def __init__(self, status: int, why: str):
        super().__init__(why)
        self.status = status


class Guard:
    """Refuses what its module says, and tells the browser to load nothing from elsewhere."""

    def __init__(
        self, app, hosts: frozenset[str], people: People, served: Path, quota: int, policy: str
    ):
        self.app, self.hosts, self.people = app, hosts, people
        self.served, self.quota, self.policy = served, quota, policy

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # the page has no web sockets
        started = False

        async def sent(message):
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = message.setdefault("headers", [])
                headers += [*_HEADERS, (b"content-security-policy", self.policy.encode())]
                headers += cookies
            await send(message)

        cookies: list[tuple[bytes, bytes]] = []
        try:
            known = [(name.lower(), value) for name, value in scope["headers"]]
            headers = {name: value.decode("latin-1") for name, value in known}
            path = scope["path"].rstrip("/") or "/"
            limit = self._check(scope, headers, path, [v for n, v in known if n == b"host"])
            if path == "/" and scope["method"] == "GET":
                cookies += self.people.greet(headers, scope["query_string"].decode("latin-1"))
            scope = dict(scope, scheme="http")
            scope["headers"] = [(n, v) for n, v in known if not n.startswith(_FORWARDED)]
            await self.app(scope, _counted(receive, limit), sent)
        except _Refused as refused:
            if started:
                raise
            body = str(refused).encode()
            head = [(b"content-type", b"text/plain"), (b"connection", b"close")]
            start = {"type": "http.response.start", "status": refused.status, "headers": head}
            await sent(start)
            await sent({"type": "http.response.body", "body": body})

    def _check(self, scope, headers: dict[bytes, str], path: str, hosts: list[bytes]) -> int:
        """Raises _Refused; returns how many bytes the body may have."""
        host = headers.get(b"host", "")
        name = urllib.parse.urlsplit(f"//{host}").hostname if len(hosts) == 1 else None
        if name is None or plain(name) not in self.hosts:
            raise _Refused(400, "this page is not known by that name")
        method = scope["method"]
        if method not in ("GET", "HEAD", "POST"):
            raise _Refused(405, "not a method of this page")
        opened = method != "POST" and path == "/" and headers.get(b"sec-fetch-mode") == "navigate"
        site = headers.get(b"sec-fetch-site", "same-origin")
        if site not in ("same-origin", "none") and not opened:
            raise _Refused(403, "asked for by another web page")
        origin = headers.get(b"origin")
        if origin is not None and urllib.parse.urlsplit(origin).netloc.lower() != host.lower():
            raise _Refused(403, "asked for by another web page")
        if path.startswith(NEVER) or (method == "POST" and path not in CHANGES):
            raise _Refused(404, "not here")
        limit = MAX_JSON
        if path == UPLOAD:
            limit = self.quota - sum(p.stat().st_size for p in files_in(self.served))
        length = headers.get(b"content-length", "0")
        if not length.isdigit() or int(length) > limit:
            raise _Refused(413, f"too large: this may have {max(limit, 0)} bytes")
        return limit


def files_in(folder: Path) -> list[Path]:
    """All files below a folder that are there and are no links."""
    return [p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()]


def _counted(receive, limit: int):
    left = limit

    async def counted():
        nonlocal left
        message = await receive()
        if message["type"] == "http.request":
            left -= len(message.get("body", b""))
            if left < 0:
                raise _Refused(413, f"too large: this may have {max(limit, 0)} bytes")
        return message

    return counted


def restrict_pillow() -> None:
    """Gradio decodes what is painted by itself: to it, too, bombs and odd formats are no pictures."""
    Image.init()
    Image.ID[:] = [name for name in Image.ID if name in FORMATS]
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses from twice its limit on


def no_network() -> None:
    """To be called before gradio is imported: it asks and tells nobody outside."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
