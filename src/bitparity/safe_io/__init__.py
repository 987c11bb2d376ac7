"""Safe input and output: regular files of a bounded size come in, no secret goes out."""
