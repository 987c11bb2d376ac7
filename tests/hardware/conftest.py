"""What the tests of hardware share."""

from doubles import models

__all__ = ["models"]
