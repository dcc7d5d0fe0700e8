"""The workstation: it reads recordings, trains networks and grades detectors."""
