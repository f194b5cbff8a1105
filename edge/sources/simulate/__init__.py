"""The district simulator: readings of a made-up district, with the truth beside them."""

from edge.sources.simulate.district import District, demo_district
from edge.sources.simulate.layout import Size
from edge.sources.simulate.load import LoadDistrict, LoadSize
from edge.sources.simulate.recording import write_recording
from edge.sources.simulate.registry_files import write_registry
from edge.sources.simulate.schedule import QUIET, Rates
from edge.sources.simulate.source import open_source

__all__ = [
    "QUIET",
    "District",
    "LoadDistrict",
    "LoadSize",
    "Rates",
    "Size",
    "demo_district",
    "open_source",
    "write_recording",
    "write_registry",
]
