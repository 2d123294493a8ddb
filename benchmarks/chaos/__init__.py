"""What is promised in docs/reliability.md, tried once per release at full size: `make chaos`."""
