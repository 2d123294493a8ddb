"""Labels a folder of images on a web page of this computer.

  fss app
  fss app --workdir runs/mine --folder labelling
  fss app --host 0.0.0.0 --logins people.txt

Paint the object in one to a few pictures, drop the others, look at what was found (the least sure
first), correct it with the brush, use corrections as examples, export. Needs the extra `app`
(pip install 'fss_jax[app]'); works without a network, and only this computer can open the page unless
--host says otherwise, which demands --logins. The address that is printed opens --folder; every other
browser or login has a folder of its own in it, unless --shared. Nothing else can be seen or changed.
"""

import argparse
from pathlib import Path

from fss_jax.runtime import arguments

GROUP = "labelling"


def add_flags(parser: argparse.ArgumentParser) -> None:
    arguments.add(parser, "--workdir", "--checkpoint")
    arguments.add(parser, "--folder", "--host")
    parser.add_argument(
        "--logins",
        type=Path,
        metavar="FILE",
        help="of NAME:PASSWORD lines; must be with another --host",
    )
    arguments.add(parser, "--known_as")
    parser.add_argument(
        "--shared", action="store_true", help="all see and change the same pictures"
    )
    arguments.add(parser, "--port", default=0)


def run(given: argparse.Namespace) -> None:
    from fss_jax.labelling.app import page

    default = Path(given.workdir, "app") if given.workdir else "labelling"
    page.run(
        given.workdir,
        given.checkpoint,
        Path(given.folder or default),
        given.host,
        given.port,
        logins_file=given.logins,
        known_as=given.known_as,
        shared=given.shared,
    )
