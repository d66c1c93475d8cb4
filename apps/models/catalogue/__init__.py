"""Platform hosted: models that are known by name, from a catalogue that ships and those that the operator adds."""
