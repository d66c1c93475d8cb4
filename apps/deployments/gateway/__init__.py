"""The gateway: one bare ASGI application in front of every deployment."""
