"""Checkpoints: where they lie, how they are configured and quantized, and what tells one from another."""
