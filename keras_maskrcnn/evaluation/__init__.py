"""COCO's evaluation, alone and during training, and reports."""
