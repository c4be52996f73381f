"""What every command writes with: whole files, tables, exit codes, output folders, versions, progress."""
