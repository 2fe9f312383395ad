"""Evaluation: what a trained model gets right on data that it never saw, item by item and in sum."""
