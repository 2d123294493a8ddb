"""What `python -m fss_jax.label`, its `refine`, and the page `fss_jax.app` are made of."""
