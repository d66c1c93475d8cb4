"""Whether the files on disk are those of the database."""
