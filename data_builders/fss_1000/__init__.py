"""FSS-1000: 1000 classes of ten 224 x 224 images with a mask each (arXiv 1907.12347)."""
