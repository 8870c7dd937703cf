"""Low-bit weights: their canonical form, the methods that choose it, the files that hold it."""
