"""A desk of the backend and a server that stands for Label Studio, each in a thread."""

import http.server
import threading

import pytest
from studio_desk import Desk, Fake


@pytest.fixture
def desk(tmp_path):
    found = Desk(tmp_path)
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def fake():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    made.answers, made.asked, made.wanted = {}, [], ()
    made.address = f"http://127.0.0.1:{made.server_address[1]}"
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()
