"""What all tests share."""

from hypothesis import settings

# A deadline an example measures the machine, not the code.
settings.register_profile("nas", deadline=None)
settings.load_profile("nas")
