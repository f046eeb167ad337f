"""Engine.IO sessions on any ASGI server: the application, long-polling, WebSockets.

The plain way in. :mod:`shoal.fastlane` is the other one, and tests hold it equal to this.
"""
