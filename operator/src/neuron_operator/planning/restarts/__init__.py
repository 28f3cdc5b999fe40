"""What is done about a failure: the restart ladder, its budgets, and the ledger of what it cost."""
