"""Trains a method, as `fss train`: python train.py --config oslsm/quickstart --workdir runs/mine"""

import sys

from fss_jax.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]], prog="train.py")
