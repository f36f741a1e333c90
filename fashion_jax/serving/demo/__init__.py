"""Serves a classifier on one web page: the server with its JSON API, and the same page as a folder of static files."""
