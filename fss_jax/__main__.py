"""`python -m fss_jax` is `fss`."""

from fss_jax.cli import main

if __name__ == "__main__":
    main()
