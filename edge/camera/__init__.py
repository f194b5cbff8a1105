"""The camera front end: from a stream of pictures to tracklets. Needs the extra `camera`.

The only place of the agent that decodes video or touches pixels; a plain agent never imports it.
"""

from __future__ import annotations

from edge.sources import SourceError


class CameraError(SourceError):
    """A clip, stream or camera file can't be used; the text is one line: what, where, mend."""
