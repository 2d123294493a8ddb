"""Runs a benchmark under absl's flags, which these take as programs of their own."""

from collections.abc import Callable

from absl import app, flags

from fss_jax.runtime import messages


def run(main: Callable[[], None]) -> None:
    """Parses the flags and runs `main`; what a user can fix is one line, as for `fss`."""

    def parse(argv: list[str]) -> list[str]:
        try:
            rest = flags.FLAGS(argv)
        # config_flags raises the latter for a --config.key that does not exist or has another type.
        except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
            message = error.args[0] if isinstance(error, KeyError) else error  # not its repr
            messages.fail(f"{message} (see --help)")
        if len(rest) > 1:
            messages.fail(f"unexpected argument {rest[1]!r}; options are written --name=value")
        return rest

    def guarded(_: list[str]) -> None:
        messages.show_only_our_messages()
        with messages.boundary():
            main()

    app.run(guarded, flags_parser=parse)
