"""Detectors against labelled recordings, by protocols that are written down beforehand."""
