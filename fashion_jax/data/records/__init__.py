"""Images in record files: TensorFlow Datasets, prepared directories and IDX files."""
