"""Uploads that can be interrupted and go on where they ended, by the tus 1.0 protocol."""
