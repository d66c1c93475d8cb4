"""Bundles: models, their checksums and a catalogue in one folder, to be carried to where there is no network."""
