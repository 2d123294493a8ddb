"""A network that hands out a test's own archives."""

from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from data_builders import downloads


@pytest.fixture
def serve(monkeypatch):
    """Call it with archives by file name; gives the list that addresses are put in as they are asked."""

    def start(archives: dict[str, Path]) -> list[str]:
        asked = []

        def download(self, url):
            asked.append(url)
            return archives[Path(url).name]

        monkeypatch.setattr(downloads, "_ask", lambda urls: dict.fromkeys(urls, ""))
        monkeypatch.setattr(tfds.download.DownloadManager, "download", download)
        return asked

    return start
