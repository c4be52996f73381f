"""What is said of a slice, a series, an image and a run: typed, written as tables and JSON, shown by pages."""
