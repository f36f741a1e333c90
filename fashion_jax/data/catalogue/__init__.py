"""The generated catalogue of drawn fashion items, which needs no download."""
