"""Localization: which modules and layers of a quantized checkpoint make its distance from the baseline."""
