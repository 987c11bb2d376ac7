"""bitparity, a comparison of the precision variants of one model: what do fewer bits cost?

Every precision variant of one model sits the same exam; answers are compared item by item.
"""

__version__ = "0.1.0"
