"""Sources of images and labels: tables, folders, zips and TensorFlow Datasets."""
