"""`python -m modelyard.cli`, the same as `modelyard`."""

from modelyard.cli import main

main()
