"""CoPS."""
