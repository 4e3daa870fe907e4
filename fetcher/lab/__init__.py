"""The lab: servers on the loopback to try things on. It uses the public API."""
