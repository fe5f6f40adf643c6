"""Who may do what, how much of it, and until when: grants, ledgers, permits. Pure: it decides, and does nothing."""
