"""Images in record files: TensorFlow Datasets, prepared sets and IDX files."""
