"""Rules of the import that people overrode: who, why, and which may be."""
