"""Published weights: reading their files and giving them to a model."""
