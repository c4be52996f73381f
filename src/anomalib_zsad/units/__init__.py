"""Units of work: each is done once, by whichever process claims it, and its outcome is a record of its own."""
