"""Few-shot segmentation in JAX: show a thing once, have it found in every other image."""
