"""What `python -m fss_jax.commands.label`, its `refine`, and the page `fss_jax.labelling.app.page` are made of."""
