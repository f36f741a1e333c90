"""The config of a run: loading, the fields with their valid values, and checks of combinations."""
