"""`gridwarden detect falling`: a clip or a camera's stream to falling objects."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.outcome import fail


def falling(
    source: Annotated[str, typer.Option("--input", help="a clip, or rtsp://...")],
    out: Annotated[Path, typer.Option(help="events as JSON lines")],
    camera: Annotated[Path | None, typer.Option(help="camera file: facades and storeys")] = None,
    model: Annotated[Path | None, typer.Option(help="folder of another model")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """Things that fall in a clip: when, from where to where, past how many storeys, how surely.

    Of a stream each event is written when it is known, and again when more of it is seen.
    """
    try:
        from app.falling.clip import Seen, detect
        from app.falling.session import SHIPPED, detector
        from app.models import ModelError
        from detectors.falling.operator import Collected
        from edge.camera import CameraError
        from edge.camera.video import is_stream
    except ModuleNotFoundError as error:
        fail(f"detect: {error.name} is not installed; install gridwarden[camera]")
    seen = Seen()
    found = Collected()
    live = is_stream(source)
    try:
        judge = detector(model or SHIPPED)
        with out.open("w", encoding="utf-8") as handle:
            for event in detect(source, judge, camera=camera, seen=seen):
                found = found.with_told([event])
                if live:
                    handle.write(json.dumps(_line(source, event, seen), ensure_ascii=False) + "\n")
                    handle.flush()
            if not live:
                handle.writelines(
                    json.dumps(_line(source, event, seen), ensure_ascii=False) + "\n"
                    for event in found.events
                )
    except (ModelError, CameraError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"--out {out}: {error.strerror}; name a file that can be written")
    except KeyboardInterrupt:
        pass  # The way to end a stream; what was known is written.
    figures = seen.figures
    if as_json:
        told = {
            "input": _shown(source),
            "frames": figures.frames,
            "width": seen.width,
            "height": seen.height,
            "bad_frames": seen.bad_frames,
            "tracklets": figures.tracklets,
            "passed": dict(figures.passed),
            "events": len(found.events),
        }
        print(json.dumps(told))
        return
    print(
        f"{_shown(source)}: {figures.frames} frames, {figures.tracklets} tracklets, "
        f"{len(found.events)} falling objects",
        file=sys.stderr,
    )


def _shown(source: str) -> str:
    from edge.camera.video import redacted

    return redacted(source)


def _line(source: str, event: Any, seen: Any) -> dict[str, object]:
    return {
        "clip": _shown(source) if "://" in source else Path(source).name,
        "start_frame": seen.frame_at(event.start_ms),
        "end_frame": seen.frame_at(event.end_ms),
        "start_s": round(event.start_ms / 1000, 3),
        "end_s": round(event.end_ms / 1000, 3),
        "start_x": event.start[0],
        "start_y": event.start[1],
        "end_x": event.end[0],
        "end_y": event.end[1],
        "score": event.score,
        "storeys": event.storeys,
        "start_storey": event.start_storey,
        "calibrated": event.calibrated,
        "tracklets": event.tracklets,
        "revision": event.revision,
    }
