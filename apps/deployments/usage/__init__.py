"""What was used, by whom and when: the ledger of every call, its sums by hour and day, and what may be kept of it."""
