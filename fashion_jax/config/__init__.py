"""The config of a run: loading, the fields and their values, and the combinations that make sense."""
