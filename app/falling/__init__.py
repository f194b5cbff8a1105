"""Falling objects outside run time: generated scenes, training, evaluation."""
