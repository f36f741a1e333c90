"""What probabilities are worth: decisions that agree over the tree, scores, calibration, label errors. Only numpy."""
