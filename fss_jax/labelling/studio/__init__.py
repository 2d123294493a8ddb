"""Label Studio's machine-learning backend: annotations come in as supports, masks go back."""
