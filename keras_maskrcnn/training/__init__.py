"""Matching with the ground truth, sampling, targets and losses."""
