"""What `/metrics` tells and health reports: of all web processes of this data directory, and of their engines."""
