"""Trunks, heads, BatchNorm and rematerialization. Importing the package alone loads no library."""
