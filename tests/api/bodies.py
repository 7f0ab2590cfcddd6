"""Teaches the tester the media type of our own: any bytes may be sent as such a body."""

import schemathesis

schemathesis.serializer.alias("application/vnd.cov.dispatch", "application/octet-stream")
