"""Pure functions on tensors: boxes, suppression, RoIAlign, masks."""
