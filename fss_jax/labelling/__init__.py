"""What `fss label`, `fss correct` and the page of `fss app` are made of."""
