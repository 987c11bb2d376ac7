"""Guards: rules that find signs of a figure that measures something else than the loss of precision."""
