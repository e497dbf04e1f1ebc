"""What a model does well and what it does not, as numbers and as a page."""
