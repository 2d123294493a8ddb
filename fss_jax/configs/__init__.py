"""One file per experiment; each `get_config()` returns a locked ConfigDict."""
