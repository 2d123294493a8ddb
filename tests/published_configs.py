"""The configs at full size, as somebody published them: a dry run tries each on 1 and 8 devices."""

from fss_jax import configs, methods

# Not published: sizes and backbones of our own, and learners over features that stay frozen.
OURS = {"small", "quickstart", "general", "squeezenet", "dinov2_s", "frozen", "ssp/vgg16"}
NAMES = [
    name
    for name in configs.names()
    if not {name, name.split("/")[1]} & OURS and methods.get(configs.get(name).method).trained
]
