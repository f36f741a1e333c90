"""Where images and labels come from: tables, folders, zips and TensorFlow Datasets."""
