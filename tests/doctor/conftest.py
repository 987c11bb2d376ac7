"""What the tests of doctor share."""

from doubles import models

__all__ = ["models"]
