"""Pages to look at: one file each, opened from disk, without network or server (docs/design.md, "Pages")."""
