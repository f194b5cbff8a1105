# mypy: ignore-errors
"""An RTSP server of GStreamer that plays a clip again and again, run by the system's python3:

    /usr/bin/python3 -I rtsp_server.py FOLDER FPS PORT

FOLDER holds an H.264 access unit a file, 00000.h264 on. Prints its address. Debian packages:
gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good
gstreamer1.0-plugins-bad
"""

import sys
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402


def main() -> None:
    folder, fps, port = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    last = len(list(folder.glob("*.h264"))) - 1
    Gst.init(None)
    factory = GstRtspServer.RTSPMediaFactory()
    # A frame a file: so each gets its time, and is sent at it.
    factory.set_launch(
        f"( multifilesrc location={folder}/%05d.h264 start-index=0 stop-index={last} loop=true "
        f'caps="video/x-h264,stream-format=byte-stream,alignment=au,framerate={fps}/1" '
        # All pictures bear the same time stamp in this way, as those of some cameras do.
        "! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 "
        # Cameras have a microphone too.
        "audiotestsrc is-live=true wave=silence ! audio/x-raw,rate=8000,channels=1 ! alawenc "
        "! rtppcmapay name=pay1 pt=8 )"
    )
    factory.set_shared(True)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    server.get_mount_points().add_factory("/cam", factory)
    server.attach(None)
    print(f"rtsp://127.0.0.1:{server.get_bound_port()}/cam", flush=True)
    GLib.MainLoop().run()


main()
