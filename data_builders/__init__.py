"""TFDS builders of every dataset; they import nothing from fss_jax and need no TensorFlow."""
