"""Distance of a variant's next token from the baseline's, on the baseline's own answers."""
