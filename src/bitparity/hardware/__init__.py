"""Hardware: GPUs, MIG slices, and what a driver says of them."""
