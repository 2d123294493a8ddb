"""Anybody's own classes: a folder of class folders with images and masks."""
