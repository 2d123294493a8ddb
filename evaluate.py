"""Scores a training, as `fss evaluate`: python evaluate.py --workdir runs/mine"""

import sys

from fss_jax.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]], prog="evaluate.py")
