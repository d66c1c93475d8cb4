"""The gateway side by side with nginx and with the engine itself: `make bench`."""
