"""What every command shares: one clear line and exit code 2 for anything a user can mend."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import absl.logging
import jax
from absl import app, flags


def fail(message: object) -> None:
    """Prints one line and ends the process with exit code 2."""
    told = str(message).partition("\n-----")[0]  # JAX adds a remark on tracebacks to what it traced
    print(f"error: {' '.join(told.split())}", file=sys.stderr)
    sys.exit(2)


def run(main: Callable[[], None]) -> None:
    """Runs a command's `main` under absl flags.

    ValueError and OSError are what a user can cause (a bad setting, a missing file, a full disk);
    anything else is a bug and keeps its traceback. FSS_JAX_TRACEBACK=1 shows it for those, too.
    """

    def parse(argv: list[str]) -> list[str]:
        try:
            rest = flags.FLAGS(argv)
        # config_flags raises the latter for a --config.key that does not exist or has another type.
        except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
            message = error.args[0] if isinstance(error, KeyError) else error  # not its repr
            fail(f"{message} (see --help)")
        if len(rest) > 1:
            fail(f"unexpected argument {rest[1]!r}; options are written --name=value")
        return rest

    def guarded(_: list[str]) -> None:
        show_only_our_messages()
        try:
            main()
        except (ValueError, OSError) as error:
            if os.environ.get("FSS_JAX_TRACEBACK"):
                raise
            fail(error)

    app.run(guarded, flags_parser=parse)


def show_only_our_messages() -> None:
    """Our log lines go to the terminal bare, the libraries' only if they are errors."""
    absl.logging.set_verbosity(absl.logging.ERROR)
    logging.getLogger("jax").setLevel(logging.WARNING)  # it tells of backends that are not there
    ours = logging.getLogger("fss_jax")
    ours.setLevel(logging.INFO)
    ours.propagate = False
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    ours.handlers = [handler]


def use_compilation_cache() -> None:
    """Compiled functions survive the process: a second start skips compiling."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(home / "fss_jax" / "xla"))
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
