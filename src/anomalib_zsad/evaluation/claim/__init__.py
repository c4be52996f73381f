"""A draft of the CLAIM checklist (2024 update), with what a run knows filled in."""
