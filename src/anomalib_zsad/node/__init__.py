"""A DICOM node: what arrives is kept in a durable queue, screened by rules, and what was found is sent on."""
