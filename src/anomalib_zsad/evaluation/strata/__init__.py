"""Figures by scanner, sex, site, or whatever else a table of the user's says of patients, volumes or images."""
