"""Draws figures with Matplotlib, and computes the charts of the page."""
