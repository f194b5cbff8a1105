"""Falling objects: tracklets of cameras in, events with a score and the storeys crossed out.

`operator.FallingObjects` is the detector; `features` says what a model sees of a tracklet.
"""
