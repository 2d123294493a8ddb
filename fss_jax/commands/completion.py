"""Prints what completes `fss` in a shell.

  fss completion bash > ~/.local/share/bash-completion/completions/fss
  fss completion zsh > ~/.zfunc/_fss        # a folder of $fpath

New shells then complete commands, flags and files at the tab key.
"""

import argparse

GROUP = ""


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=["bash", "zsh"])


def run(given: argparse.Namespace) -> None:
    import shtab

    from fss_jax import cli

    print(shtab.complete(cli.tree(), given.shell))
