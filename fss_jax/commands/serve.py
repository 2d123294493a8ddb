"""Answers Label Studio, as its backend: masks for all that you did not label yet.

  fss serve --folder studio/ --api_key studio.key
  fss serve --folder studio/ --uploads ~/.local/share/label-studio/media/upload

Start Label Studio with ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false, so that it may call
this computer, and connect it to the printed address (Settings, Model). Submit a few annotations, select
the other tasks, Actions, Retrieve Predictions. What you submit or correct is shown to the model at the
next call. docs/label_studio.md has all of it.

Only this computer can ask, and only with the key in the printed address. Images are read from --uploads
and --local_files, or from --studio with the token in --api_key, and from nowhere else.
"""

import argparse
from pathlib import Path

from fss_jax.runtime import arguments, config_flags

GROUP = "labelling"


def add_flags(parser: argparse.ArgumentParser) -> None:
    config_flags.add(parser)
    arguments.add(parser, "--workdir", type=Path)
    arguments.add(parser, "--checkpoint")
    arguments.add(parser, "--folder", type=Path, default=Path("studio"))
    parser.add_argument("--studio", default="http://localhost:8080", help="Label Studio's address")
    parser.add_argument(
        "--api_key", type=Path, metavar="FILE", help="with a personal access token of Label Studio"
    )
    parser.add_argument(
        "--uploads", type=Path, help="its folder media/upload, if not asked for images"
    )
    parser.add_argument("--local_files", type=Path, help="its LOCAL_FILES_DOCUMENT_ROOT, likewise")
    arguments.add(parser, "--host", "--known_as")
    arguments.add(parser, "--port", default=9090)
    parser.add_argument(
        "--seconds", type=arguments.COUNT, default=80, help="of a call; Label Studio waits for 100"
    )


def run(given: argparse.Namespace) -> None:
    from fss_jax.labelling.studio import server

    names = ("workdir", "checkpoint", "folder", "host", "port", "studio", "api_key", "uploads")
    names += ("local_files", "known_as", "seconds")
    config = config_flags.read(given)
    server.serve(**{name: getattr(given, name) for name in names}, config=config)
