"""Usage with ten million calls in the ledger: what a question takes, and what writing takes."""
