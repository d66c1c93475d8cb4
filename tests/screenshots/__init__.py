"""`make screenshots`: every page of a Modelyard that was used, in both themes and two widths."""
