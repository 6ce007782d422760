"""Public checks of a person's own components, on the CPU, in seconds.

from gan_dist.testing import check, problems

check("my_package.nets:Generator")               # raises with everything that is wrong
problems("my_package.nets:Generator", "generator")   # the same as a list of texts
"""

from gan_dist.testing.checks import check, problems

__all__ = ["check", "problems"]
