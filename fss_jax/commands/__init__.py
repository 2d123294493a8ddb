"""The commands of `fss`, one a file: what they take, and whom they call."""
