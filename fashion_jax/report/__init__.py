"""Writes what a run leaves for people to look at: the HTML page, its figures and tables."""
